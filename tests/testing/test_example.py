"""The example's own tests, run as its author runs them: `python -m pytest`, and nothing of this project's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from towpath.local import postgres

EXAMPLE = Path(__file__).parents[2] / "examples/testing"
NAMES = ("PATH", "HOME", "TMPDIR", "LANG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the example's folder, as a user has copied it."""
    copied = tmp_path / "florist"
    shutil.copytree(EXAMPLE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    return copied


def run_pytest(folder: Path, *arguments: str, **environ: str) -> str:
    """Run pytest in a folder; return what it says."""
    kept = {name: os.environ[name] for name in NAMES if name in os.environ}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *arguments],
        cwd=folder,
        env={**kept, **environ},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture
def leaves_nothing(postgres_server: postgres.Server) -> Iterator[None]:
    """See that no database is left behind on a server that others use too."""
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        before = set(connection.execute("SELECT datname FROM pg_database").fetchall())
        yield
        assert set(connection.execute("SELECT datname FROM pg_database").fetchall()) == before


def test_the_example_passes_on_an_embedded_postgres(folder: Path) -> None:
    """Without any configuration; the plugin is there since the distribution is installed."""
    assert re.search(r"^8 passed in", run_pytest(folder), re.MULTILINE)


@pytest.mark.usefixtures("leaves_nothing")
def test_the_example_passes_in_parallel_on_a_server_that_is_named(
    folder: Path, postgres_server: postgres.Server
) -> None:
    """Two processes of pytest-xdist share it, and leave it as it was."""
    said = run_pytest(folder, "-n", "2", TOWPATH_TEST_DATABASE_URL=postgres_server.url)
    assert re.search(r"^8 passed in", said, re.MULTILINE)


def test_whoever_does_not_ask_for_it_pays_nothing(folder: Path) -> None:
    """Of Towpath, pytest's start imports the plugin alone: no driver, and no server is started."""
    (folder / "test_florist.py").unlink()
    (folder / "test_other.py").write_text(
        "import sys\n\n\ndef test_other() -> None:\n"
        "    loaded = {name for name in sys.modules if name.startswith('towpath')}\n"
        "    assert loaded == {'towpath', 'towpath.testing', 'towpath.testing.plugin'}\n"
        "    assert 'psycopg' not in sys.modules\n"
    )
    assert "1 passed" in run_pytest(folder)
