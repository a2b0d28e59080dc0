"""Imports the application that a worker runs."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

from towpath.domain.errors import ApplicationImportError

if TYPE_CHECKING:
    from towpath.api.app import App


def put_working_directory_first() -> None:
    """Make modules of the working directory importable, before any installed ones of their name."""
    folder = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)


def load_application(application: str) -> App:
    """Import `module` or `module:attribute` and return its App; without an attribute, the default App.

    While it is imported, starting a workflow raises.

    Raises:
        ApplicationImportError: it cannot be imported, or is no App. What the module raised, if it
            was its own error, is the cause.
    """
    from towpath.api.app import App
    from towpath.api.default import default_app

    module_name, _, attribute = application.partition(":")
    module = _import(application, module_name)
    if not attribute:
        _refuse_without_workflows(application, module, default_app)
        return default_app
    found: object = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            hint = _names_of_apps(module)
            raise ApplicationImportError(
                application=application,
                reason=f"module {module_name!r} has no {attribute!r}" + _try(module_name, hint),
            ) from None
    if not isinstance(found, App):
        raise ApplicationImportError(
            application=application, reason=f"it is a {type(found).__name__}, not a towpath.App"
        )
    _refuse_without_workflows(application, module, found)
    return found


def _import(application: str, module_name: str) -> ModuleType:
    from towpath.api.starting import import_guard

    if not module_name or module_name.endswith(".py") or "/" in module_name:
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise ApplicationImportError(
            application=application,
            reason=f"it is no module's name. Try: --app {dotted or 'module'}",
        )
    import_guard.application = application
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - an application may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ApplicationImportError(
            application=application, reason=reason.removesuffix(":")
        ) from error.with_traceback(_own_part(error.__traceback__))
    finally:
        import_guard.application = None


def _own_part(traceback: TracebackType | None) -> TracebackType | None:
    """Drop the frames of this module and of the import machinery before the application's own."""
    while traceback is not None and (
        traceback.tb_frame.f_code.co_filename.startswith("<frozen importlib")
        or traceback.tb_frame.f_code.co_filename in {__file__, importlib.__file__}
    ):
        traceback = traceback.tb_next
    return traceback


def _refuse_without_workflows(application: str, module: ModuleType, app: App) -> None:
    """Refuse an App that has nothing to run, which would serve its queues for nothing."""
    if app.registry.workflows():
        return
    hint = "" if ":" in application else _try(application, _names_of_apps(module))
    raise ApplicationImportError(application=application, reason=f"it registers no workflow{hint}")


def _names_of_apps(module: ModuleType) -> list[str]:
    from towpath.api.app import App

    return [name for name, value in vars(module).items() if isinstance(value, App)]


def _try(module_name: str, attributes: list[str]) -> str:
    return f". Try: --app {module_name}:{attributes[0]}" if attributes else ""
