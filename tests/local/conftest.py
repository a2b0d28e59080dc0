"""Folders for programs that may run as another user."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder that every user reaches; pytest's own is its user's alone."""
    folder = Path(tempfile.mkdtemp(prefix="towpath-local-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
