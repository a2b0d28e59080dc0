"""Writes manifests as the API server is sent them: as JSON that is read as YAML."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_PAIR: Final = re.compile(r"\\\\|\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")


def yaml_of(value: Any) -> bytes:
    r"""Return a JSON value as YAML that means the same.

    JSON is YAML but for one thing: what lies beyond `\uffff` is two escapes in JSON, and none in YAML.
    """
    return _PAIR.sub(_character, json.dumps(value)).encode()


def _character(found: re.Match[str]) -> str:
    if found[1] is None:
        return found[0]
    high, low = int(found[1], 16), int(found[2], 16)
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
