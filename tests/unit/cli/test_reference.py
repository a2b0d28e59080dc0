"""The reference page of the command line."""

from __future__ import annotations

from pathlib import Path

from towpath.cli.reference import COMMAND, PAGE, reference_page

ROOT = Path(__file__).parents[3]


def test_the_page_is_as_the_commands_are() -> None:
    """Whoever changes a command's help writes the page anew."""
    assert (ROOT / PAGE).read_text("utf-8") == reference_page(), f"Try: {COMMAND}"
