"""Imports what is not there."""


def _load() -> None:
    import a_module_that_is_not_there  # type: ignore[import-not-found]  # noqa: F401, PLC0415


_load()
