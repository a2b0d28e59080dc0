"""The repository's own shape: what neither ruff, nor mypy, nor import-linter can see."""

from __future__ import annotations

import operator
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("runtime", "operator", "examples", "bench", "tools")
SUFFIXES = (".py", ".sql", ".sh")

SOFT_LINES = 400
HARD_LINES = 500
TEST_LINES = 650
LONGER: dict[str, str] = {}
"""Sources above the soft budget, each with the reason why it is one file."""

DUMP = Path("runtime/src/towpath/store/schema.sql")
"""Written by pg_dump, for reading."""

THIS_MACHINE = re.compile(rf"/root/|/home/[a-z]|/Users/[a-z]|{re.escape(str(ROOT))}/")
INDEX_HOST = re.compile(r"index-url\s*=|https?://\S*/simple\b|pypi\.org|proxy\.golang|GOPROXY=")


def _tracked() -> Iterator[Path]:
    """Yield the files that git knows, and those that it would add."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            yield Path(name)


def _lines(path: Path) -> int:
    return len((ROOT / path).read_text("utf-8").splitlines())


def test_the_operator_folder_is_no_package() -> None:
    """With an `__init__.py` it would take the place of the standard library's module."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert operator.__file__ is not None
    assert Path(operator.__file__).is_relative_to(sysconfig.get_path("stdlib"))


def test_python_starts_in_the_root() -> None:
    """`import operator` is the standard library's there too, where the folder is in sight."""
    program = "import operator; print(operator.itemgetter(0)('ok'))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "o\n"


def test_importing_towpath_loads_psycopg_alone() -> None:
    """Whoever imports the library pays for its driver, and for nothing that only we use."""
    program = (
        "import sys; before = set(sys.modules); import towpath;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split()) - sys.stdlib_module_names
    # typing_extensions is psycopg's own on older Pythons.
    assert loaded <= {"towpath", "psycopg", "psycopg_binary", "psycopg_c", "typing_extensions"}
    assert "towpath" in loaded


def test_sources_are_short() -> None:
    """A file is at most 400 lines; one that is longer is named here, with the reason."""
    sources = [
        p for p in _tracked() if p.parts[0] in SOURCES and p.suffix in SUFFIXES and p != DUMP
    ]
    assert sources
    sizes = {str(path): _lines(path) for path in sources}
    long = {name: lines for name, lines in sizes.items() if lines > SOFT_LINES}
    assert long.keys() == LONGER.keys()
    assert all(lines <= HARD_LINES for lines in long.values())


def test_tests_are_not_endless() -> None:
    """A file of tests may be longer, but not without end."""
    tests = [p for p in _tracked() if p.parts[0] == "tests" and p.suffix == ".py"]
    assert {str(p): n for p in tests if (n := _lines(p)) > TEST_LINES} == {}


@pytest.mark.parametrize("pattern", [THIS_MACHINE, INDEX_HOST], ids=["machine", "index"])
def test_no_file_names_a_machine(pattern: re.Pattern[str]) -> None:
    """No path of somebody's machine and no package index: a clone works anywhere."""
    found = []
    for path in _tracked():
        if path == Path(__file__).relative_to(ROOT):
            continue
        try:
            text = (ROOT / path).read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path}: {match[0]}" for match in pattern.finditer(text)]
    assert found == []


def test_there_is_no_lock_file() -> None:
    """A lock file would name the host of the index that it was made with."""
    locks = {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "pylock.toml"}
    assert [path for path in _tracked() if path.name in locks] == []


def test_ci_runs_what_the_readme_says() -> None:
    """`.ci/run` is the README's test command and nothing else."""
    commands = [
        line
        for line in (ROOT / ".ci/run").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "exec make test"]
    assert "$ make test " in (ROOT / "README.md").read_text()
