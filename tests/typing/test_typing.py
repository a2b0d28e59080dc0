"""The public surface keeps its types: arguments are checked against the function, results known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.parametrize("surface", ["api.py", "durable.py", "methods.py"])
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_checker_accepts_the_surface(checker: str, surface: str) -> None:
    """Right uses pass, wrong ones are errors: an ignore that is not needed is an error too."""
    command = {
        "mypy": [sys.executable, "-m", "mypy", "--strict", str(HERE / surface)],
        "pyright": [
            str(Path(sys.executable).with_name("basedpyright")),
            "--project",
            str(ROOT),
            str(HERE / surface),
        ],
    }[checker]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
