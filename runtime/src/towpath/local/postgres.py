"""An embedded Postgres for one folder: made on first use, started, and stopped with its starter.

`start(home)` keeps everything below `home` (for `towpath dev` that is `.towpath/`): the data, a random
password in a 0600 file, the log, and `postgres.json`, which says where the data lies. Only loopback is
listened on, and every connection needs the password. The caller holds the folder's lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from towpath.local import stale
from towpath.local.binaries import Binaries, find
from towpath.local.errors import PostgresMissingError, PostgresStartError
from towpath.local.unprivileged import (
    Account,
    account_of,
    choose_account,
    place_for,
    reachable,
)

USER = "towpath"
DATABASE = "towpath"
LONGEST_SOCKET_PATH = 90  # macOS allows 103 bytes, and the socket's name takes some
READY_SECONDS = 120.0  # recovery after a crash may take a while
GUARDIAN = Path(__file__).with_name("guardian.py")
DEFAULTS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    "logging_collector": "off",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running Postgres. It ends with this process, or with `stop`."""

    url: str
    port: int
    pid: int
    version: str
    data: Path
    log: Path
    guardian: subprocess.Popen[bytes]

    @property
    def running(self) -> bool:
        """Whether the server has not ended."""
        return self.guardian.poll() is None

    def stop(self, *, timeout: float = 30.0) -> None:
        """Shut the server down and wait until it has gone. A second call does nothing."""
        _release(self.guardian)
        self.guardian.wait(timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """Where one folder's Postgres lies and who runs it."""

    home: Path
    place: Path
    account: Account | None
    binaries: Binaries

    @property
    def data(self) -> Path:
        return self.place / "data"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"


def start(
    home: Path, *, settings: Mapping[str, str] | None = None, ephemeral: bool = False
) -> Server:
    """Start the folder's Postgres, making it first if it is not there, and wait until it answers.

    With `ephemeral`, `home` is deleted when the server ends, however its starter ended.
    """
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    site = _site(home)
    password = _password(home)
    if (site.data / "PG_VERSION").exists():
        stale.clear(site.data)
    else:
        _make_data(site, password)
    server = _start_on_free_port(site, password, settings or {}, ephemeral=ephemeral)
    _remember(site, server.port)
    _make_database(server, password)
    return server


def _site(home: Path) -> _Site:
    account = choose_account(home.parent)
    place = place_for(home, account)
    if place == home:
        place = home / "postgres"
        place.mkdir(mode=0o755, exist_ok=True)
    data = place / "data"
    if account is not None and data.is_dir():
        account = account_of(data) or account
    for binaries in find(major=_major(data)):
        usable = reachable(binaries, account, place)
        if usable is not None:
            return _Site(home=home, place=place, account=account, binaries=usable)
    who = account.name if account is not None else "this user"
    raise PostgresMissingError(reason=f"{who} can reach none of those on this system")


def _major(data: Path) -> int | None:
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None
    except PermissionError:
        owner = data.stat().st_uid
        raise PostgresStartError(
            what=f"{data} belongs to another user (uid {owner}); run as that user, or delete it",
            log_lines=(),
        ) from None


def _password(home: Path) -> str:
    """Return the folder's password, made on first use; readable by the starter alone."""
    path = home / "postgres.password"
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:  # noqa: PTH123 - by descriptor: the mode is set at creation
            file.write(secrets.token_urlsafe(24))
    return path.read_text().strip()


def _make_data(site: _Site, password: str) -> None:
    """Run initdb beside the final folder and rename: a kill in the middle leaves no half of one."""
    for leftover in site.place.glob("data.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix="data.new-", dir=site.place))
    password_file = work / "password"
    password_file.write_text(password)
    if site.account is not None:
        site.account.own(work)
        site.account.own(password_file)
    command = [
        *(str(site.binaries.folder / "initdb"), "--pgdata", str(work / "data")),
        *("--username", USER, f"--pwfile={password_file}", "--auth=scram-sha-256"),
        *("--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"),
    ]
    with site.log.open("wb") as log, _guarded(site, command, log=log.fileno()) as guardian:
        code = guardian.wait(READY_SECONDS)
    if code != 0:
        shutil.rmtree(work, ignore_errors=True)
        raise _failed(site, "initdb failed")
    (work / "data").rename(site.data)
    shutil.rmtree(work)


def _start_on_free_port(
    site: _Site, password: str, settings: Mapping[str, str], *, ephemeral: bool
) -> Server:
    """Start the server; its port may be taken between our look and its bind, so try again."""
    preferred = _remembered_port(site)
    for port in (preferred, _free_port(), _free_port(), _free_port()):
        if port is None or not _is_free(port):
            continue
        guardian = _launch(site, port, settings, ephemeral=ephemeral)
        pid = _wait_ready(site, guardian)
        if pid is not None:
            return Server(
                url=f"postgresql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}",
                port=port,
                pid=pid,
                version=str(site.binaries),
                data=site.data,
                log=site.log,
                guardian=guardian,
            )
        _release(guardian)
        if not any("could not bind" in line for line in _last_lines(site.log, 40)):
            break
    raise _failed(site, "the server ended at once")


def _launch(
    site: _Site, port: int, settings: Mapping[str, str], *, ephemeral: bool
) -> subprocess.Popen[bytes]:
    sockets = site.place / "run"
    short = len(os.fsencode(sockets)) < LONGEST_SOCKET_PATH
    if short:
        sockets.mkdir(mode=0o700, exist_ok=True)
        if site.account is not None:
            site.account.own(sockets)
    values = {
        **DEFAULTS,
        "port": str(port),
        "unix_socket_directories": str(sockets) if short else "",
        **settings,
    }
    options = [part for name, value in values.items() for part in ("-c", f"{name}={value}")]
    command = [str(site.binaries.folder / "postgres"), "-D", str(site.data), *options]
    with site.log.open("wb") as log:
        return _guarded(site, command, log=log.fileno(), remove=site.home if ephemeral else None)


def _guarded(
    site: _Site, command: list[str], *, log: int, remove: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a command under a guardian, as the site's account, in a bare environment."""
    guard = [sys.executable, "-I", "-S", str(GUARDIAN), "hold"]
    if site.account is not None:
        guard += ["--uid", str(site.account.uid), "--gid", str(site.account.gid)]
    if remove is not None:
        guard += ["--remove", str(remove)]
    kept = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return subprocess.Popen(  # noqa: S603 - our own program
        [*guard, "--", *command],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        cwd=site.place,
        env={**environment, "LC_ALL": "C"},
        start_new_session=True,
    )


def _wait_ready(site: _Site, guardian: subprocess.Popen[bytes]) -> int | None:
    """Return the server's pid once it accepts connections, None when it ended first."""
    pid_file = site.data / "postmaster.pid"
    deadline = time.monotonic() + READY_SECONDS
    while guardian.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            lines = pid_file.read_text().splitlines()
            if len(lines) >= 8 and lines[7].strip() == "ready":  # noqa: PLR2004 - its status line
                return int(lines[0])
        if time.monotonic() > deadline:
            _release(guardian)
            raise _failed(site, f"it was not ready within {READY_SECONDS:g} s")
        time.sleep(0.01)
    return None


def _release(guardian: subprocess.Popen[bytes]) -> None:
    """Let go of the pipe: the guardian stops what it holds."""
    assert guardian.stdin is not None  # noqa: S101 - made with a pipe
    guardian.stdin.close()


def _make_database(server: Server, password: str) -> None:
    with psycopg.connect(
        host="127.0.0.1",
        port=server.port,
        user=USER,
        password=password,
        dbname="postgres",
        autocommit=True,
    ) as connection:
        query = "SELECT FROM pg_database WHERE datname = %s"
        if connection.execute(query, [DATABASE]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def _remember(site: _Site, port: int) -> None:
    said = {"data": str(site.data), "binaries": str(site.binaries.folder), "port": port}
    (site.home / "postgres.json").write_text(json.dumps(said, indent=2) + "\n")


def _remembered_port(site: _Site) -> int | None:
    """Return the last start's port: clients that were left open find the server again."""
    try:
        return int(json.loads((site.home / "postgres.json").read_text())["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _failed(site: _Site, what: str) -> PostgresStartError:
    return PostgresStartError(what=what, log_lines=_last_lines(site.log, 8), log=site.log)


def _last_lines(log: Path, count: int) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-count:]
