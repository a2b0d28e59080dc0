"""Puts what the API server says of a rendered Deployment into the terms of the user's template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from towpath_operator.ports.cluster import Manifest
from towpath_operator.render.environment import RESERVED

_PREFIXES: Final = (
    re.compile(r'^Deployment\.apps "[^"]*" is invalid: '),
    re.compile(r"^failed to create (?:typed patch object|manager for existing fields)[^:]*: "),
    re.compile(r"^(?:error decoding|unable to convert)[^:]*: "),
)
_FIELD: Final = re.compile(r"(?<![\w.])\.(?=spec\.)")
_VARIABLE: Final = re.compile(r"(containers\[(\d+)\]\.env\[)(\d+)(\])")


def in_users_terms(message: str, manifest: Manifest) -> str:
    """Return the message with paths as in the WorkerPool, where the operator's variables are not."""
    for prefix in _PREFIXES:
        message = prefix.sub("", message)
    message = _FIELD.sub("", message)
    return _VARIABLE.sub(lambda found: _without_ours(found, manifest), message)


def _without_ours(found: re.Match[str], manifest: Manifest) -> str:
    """Count a variable from the first of the user's: ours stand before them."""
    spec: Mapping[str, Any] = manifest["spec"]["template"]["spec"]
    container = spec["containers"][int(found[2])]
    ours = sum(entry.get("name") in RESERVED for entry in container.get("env", ()))
    index = int(found[3]) - ours
    return f"{found[1]}{index}{found[4]}" if index >= 0 else found[0]
