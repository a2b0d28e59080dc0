"""Workflows that say which pod did what; a ConfigMap brings them into pods of Towpath's own image."""

from __future__ import annotations

import os
import time

import towpath


@towpath.step()
def stride(seconds: float) -> str:
    """Take a while, and return the name of the pod that did it."""
    time.sleep(seconds)
    return os.environ["TOWPATH_POD_NAME"]


@towpath.workflow()
def walk(strides: int, seconds: float) -> list[str]:
    """Take strides one after the other, and return who took each."""
    return [stride(seconds) for _ in range(strides)]


@towpath.workflow()
def setting(name: str) -> str | None:
    """Return a variable of the worker's environment."""
    return os.environ.get(name)
