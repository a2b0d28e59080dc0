"""The one error of this package: it names the part that failed and shows that part's last words."""

from pathlib import Path

TAIL_LINES = 25


class ClusterError(Exception):
    """A part of the cluster could not be built, started or used."""

    def __init__(self, part: str, reason: str, log: str = "") -> None:
        self.part = part
        self.reason = reason
        self.log = tail(log)
        shown = f"\n--- the last lines of {part} ---\n{self.log}" if self.log else ""
        super().__init__(f"{part}: {reason}{shown}")


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a text that are not blank."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def read_log(path: Path) -> str:
    """Return what a log file holds, or nothing while there is none."""
    return path.read_text(errors="replace") if path.exists() else ""
