"""Which database a process uses (design: explicit, then the environment, then the dev of the folder).

And which codec, since its bound comes from the environment too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from towpath.codec import DEFAULT_MAX_BYTES, ChosenCodec, Codec, JsonCodec
from towpath.domain.errors import ConfigurationError, NotConfiguredError
from towpath.executor.engine import EngineSettings
from towpath.executor.settings import read_max_value_bytes, read_worker_settings
from towpath.store.connect import Endpoint

DEFAULT_SCHEMA = "towpath"


def find_engine_settings(
    database_url: str | None, schema: str | None, environ: Mapping[str, str] | None = None
) -> EngineSettings:
    """Return where to connect.

    Raises:
        NotConfiguredError: no database is named anywhere.
        ConfigurationError: a variable's value is not allowed.
    """
    environ = os.environ if environ is None else environ
    worker = read_worker_settings(environ)
    source, found_schema = _find_source(database_url, environ)
    return EngineSettings(
        endpoint=Endpoint(source, pooled=not worker.listen),
        schema=schema or environ.get("TOWPATH_SCHEMA") or found_schema or DEFAULT_SCHEMA,
        connections=worker.max_connections,
    )


def _find_source(
    database_url: str | None, environ: Mapping[str, str]
) -> tuple[Callable[[], str], str | None]:
    """Return how to read the URI, and the schema where the place that names it knows one."""
    if database_url:
        return (lambda: database_url), None
    if path := environ.get("TOWPATH_DATABASE_URL_FILE"):
        return (lambda: _read_file(Path(path))), None
    if url := environ.get("TOWPATH_DATABASE_URL"):
        return (lambda: url), None
    from towpath.local.discovery import find_dev  # noqa: PLC0415 - only where nothing else is named

    dev = find_dev(Path.cwd())
    if dev is None:
        raise NotConfiguredError
    url = dev.url
    return (lambda: url), dev.schema


def _read_file(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise ConfigurationError(
            f"TOWPATH_DATABASE_URL_FILE names {str(path)!r}, which cannot be read: {error.strerror}."
        ) from None


def choose_codec(codec: Codec | None, max_value_bytes: int | None) -> Codec:
    """Return the codec that is given, else JSON with its bound.

    Raises:
        ConfigurationError: the bound is not allowed, or stands beside a codec; the codec has no name
            that rows can carry.
    """
    if max_value_bytes is None:
        if codec is not None and not isinstance(codec, JsonCodec):
            return ChosenCodec(codec)
        return codec or JsonCodec(max_bytes=read_max_value_bytes(os.environ, DEFAULT_MAX_BYTES))
    if codec is not None:
        raise ConfigurationError("max_value_bytes is for the JSON codec; a codec bounds its own.")
    if type(max_value_bytes) is not int or max_value_bytes < 1:
        raise ConfigurationError(
            f"max_value_bytes is {max_value_bytes!r}; allowed is an int, 1 or more."
        )
    return JsonCodec(max_bytes=max_value_bytes)
