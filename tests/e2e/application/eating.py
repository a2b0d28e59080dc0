"""A workflow whose first attempt takes more memory than its pod may have."""

from __future__ import annotations

import os

import towpath


@towpath.step()
def eat(megabytes: int) -> str:
    """Take memory at the first attempt; return the name of the pod that has outlived it."""
    running = towpath.current()
    assert running is not None
    if running.attempt == 1:
        held = [bytearray(os.urandom(1 << 20)) for _ in range(megabytes)]
        assert held
    return os.environ["TOWPATH_POD_NAME"]


@towpath.workflow()
def feast(megabytes: int) -> str:
    """Eat, and return who has outlived it."""
    return eat(megabytes)
