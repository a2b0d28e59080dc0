"""The test kit's own statements, one a file, beside this module: production never loads them."""

from __future__ import annotations

from importlib import resources

from towpath.store.statements import compose


def statement(name: str, schema: str) -> bytes:
    """Return a statement by its file's name, for a schema."""
    file = resources.files("towpath.testing").joinpath("sql", f"{name}.sql")
    return compose(file.read_text("utf-8"), schema)
