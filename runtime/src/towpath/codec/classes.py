"""The names of classes in recorded text, and the classes again; nothing is imported for a name.

A name is `<module>:<qualname>`. The module of a program that was run as a file or with `-m` is called
`__main__` in its own process only, so it is recorded under the name by which others import it.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import types
from collections.abc import Iterator, Mapping

_MAIN = ("__main__", "__mp_main__")  # the second is what multiprocessing calls it in a child

_annotated: contextvars.ContextVar[Mapping[str, type]] = contextvars.ContextVar(
    "towpath_annotated_classes", default=types.MappingProxyType({})
)


def name_class(kind: type) -> str:
    """Return the name under which a class is recorded."""
    module = kind.__module__
    if module in _MAIN:
        imported_as = _main_name()
        # Where that is imported too, the classes there are others, of the same names.
        if imported_as not in sys.modules:
            module = imported_as
    return f"{module}:{kind.__qualname__}"


def find_class(type_name: str) -> type | None:
    """Return the class of that name where its module is imported already; none of its code runs."""
    module_name, _, qualname = type_name.partition(":")
    found: object = sys.modules.get(module_name)
    if found is None and module_name == _main_name():
        found = sys.modules.get("__main__")
    for name in qualname.split("."):
        # `vars` and not `getattr`: a module's __getattr__ may import.
        found = getattr(found, "__dict__", {}).get(name)
    return found if isinstance(found, type) else None


def find_annotated_class(type_name: str) -> type | None:
    """Return the class of that qualname that the annotations of the called function mention."""
    return _annotated.get().get(type_name.partition(":")[2])


@contextlib.contextmanager
def annotated_classes(classes: Mapping[str, type]) -> Iterator[None]:
    """In the block a class that has moved to another module is found among `classes`, by qualname."""
    token = _annotated.set(classes)
    try:
        yield
    finally:
        _annotated.reset(token)


def _main_name() -> str:
    """Return the name by which another process imports this one's `__main__`."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return os.path.basename(file).removesuffix(".py") if file else "__main__"  # noqa: PTH119 - of each value
