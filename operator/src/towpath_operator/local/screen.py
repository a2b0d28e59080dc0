"""What `towpath dev` shows on stderr: the start block, and what changes after it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final, TextIO

from towpath.local.logs import wants_colour, write_line
from towpath_operator.local.manifests import Manifests
from towpath_operator.model.conditions import Reason
from towpath_operator.ports.cluster import QUEUE, Kind, Manifest, ObjectKey

PASSING: Final = frozenset(
    {Reason.PODS_STARTING, Reason.ROW_PENDING, Reason.SCHEMA_PENDING, Reason.RETRYING}
)
"""Reasons that come and go by themselves, and are no news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartBlock:
    """What the start block says."""

    seconds: float
    database: str
    manifests: Manifests
    watching: Sequence[str]
    app: str | None


class Screen:
    """Writes lines for the person. Every line is one write, so that workers' lines do not mix in."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colour = wants_colour(stream)
        self._shown: dict[tuple[Kind, ObjectKey], str | None] = {}

    def say(self, text: str) -> None:
        """Write a line."""
        write_line(self._stream, text)

    def error(self, text: str) -> None:
        """Write what went wrong."""
        self.say(f"{self._painted('error:', '31')} {text}")

    def block(self, block: StartBlock) -> None:
        """Write the start block."""
        name = self._painted(f"towpath dev {version()}", "1")
        lines = [
            f"{name}   ready in {block.seconds:.1f}s          not for production",
            f"  database   {block.database}",
            f"  queues     {_queues(block)}",
        ]
        if block.watching:
            lines.append(f"  watching   {', '.join(block.watching)}")
        lines += [
            "try   towpath workflow start NAME [ARGUMENT...]   in this folder or below",
            "      towpath queue list",
            "stop  Ctrl-C drains what runs; a second one stops at once, and work goes on next time",
        ]
        self.say("\n".join(lines))

    def verdict(self, kind: Kind, manifest: Manifest) -> None:
        """Write that an object is not ready and why, when that is news; and that it is again."""
        place = (kind, ObjectKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"]))
        ready = condition(manifest, "Ready")
        if ready is None:
            return
        shown = self._shown.get(place)
        if ready["status"] == "True":
            self._shown[place] = None
            if shown is not None:
                self.say(f"{kind.name} {place[1]}: ready again")
            return
        message = ready["message"]
        # A Queue repeats what its pool says.
        others = [text for other, text in self._shown.items() if text and other != place]
        repeated = any(message.endswith(text) for text in others)
        if ready["reason"] not in PASSING and not repeated and shown != message:
            self._shown[place] = message
            self.say(f"{kind.name} {place[1]}: {self._painted('not ready', '33')}: {message}")

    def event(self, about: Manifest, message: str) -> None:
        """Write an event of an object, unless its condition says the same."""
        if message not in {(condition(about, "Ready") or {}).get("message"), *self._shown.values()}:
            metadata = about["metadata"]
            self.say(f"{about['kind']} {metadata['namespace']}/{metadata['name']}: {message}")

    def gone(self, kind: Kind, key: ObjectKey) -> None:
        """Forget an object."""
        self._shown.pop((kind, key), None)

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text


class ScreenHandler(logging.Handler):
    """Shows that something of ours broke, in one line; the log file has the rest."""

    def __init__(self, screen: Screen, log: Path) -> None:
        super().__init__(logging.ERROR)
        self._screen = screen
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Show the record."""
        self._screen.error(f"{record.getMessage()}; {self._log} says more")


def version() -> str:
    """Return the installed version, or that there is none."""
    try:
        return metadata.version("towpath")
    except metadata.PackageNotFoundError:
        return "from source"


def condition(manifest: Manifest, of_type: str) -> Mapping[str, Any] | None:
    """Return a condition of an object."""
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one.get("type") == of_type), None)


def _queues(block: StartBlock) -> str:
    queues = [_queue(key, manifest) for key, manifest in block.manifests.of(QUEUE)]
    if queues:
        return "   ".join(queues)
    if block.app is not None:
        return f"as {block.app} declares them"
    return "none; name manifests with -f, or an application with --app"


def _queue(key: ObjectKey, manifest: Manifest) -> str:
    limits = manifest["spec"].get("concurrency") or {}
    shown = [
        f"{limits[field]} {words}"
        for field, words in (("global", "running"), ("perWorker", "a worker"))
        if limits.get(field) is not None
    ]
    name = manifest["spec"].get("queueName") or key.name
    return f"{name} ({', '.join(shown) or 'no limits'})"
