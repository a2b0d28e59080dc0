"""The one error of the demonstration."""

from __future__ import annotations


class DemoError(Exception):
    """The story cannot go on; the message says why, with the last lines of what failed."""
