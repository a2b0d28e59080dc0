"""A Redis of the benchmark's own, for the peer that needs one; synced every second, on loopback."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.processes import FailedError

PACKAGES = ("redis-tools", "libjemalloc2", "liblzf1", "libatomic1")
START_SECONDS = 10.0


def commands() -> float:
    """Return how many commands the server has processed."""
    client = importlib.import_module("redis").Redis.from_url(os.environ["BENCH_REDIS_URL"])
    return float(client.info("stats")["total_commands_processed"])


@contextmanager
def redis_server(folder: Path) -> Iterator[None]:
    """Run a server that keeps its data in a folder.

    Raises:
        FailedError: there is none on this system, none can be unpacked, or it does not start.
    """
    folder.mkdir(exist_ok=True)
    port = _free_port()
    command = [
        *_find(folder / "packages"),
        *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""),
        *("--appendonly", "yes", "--appendfsync", "everysec"),
    ]
    environment = {**os.environ, "LD_LIBRARY_PATH": _libraries(folder / "packages")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        _wait(port, process, folder / "log")
        os.environ["BENCH_REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
        yield
    finally:
        process.kill()
        process.wait()


def _find(packages: Path) -> list[str]:
    """Return the command: the system's, else that of Debian's package, unpacked and not installed."""
    installed = shutil.which("redis-server")
    if installed:
        return [installed]
    unpacked = packages / "usr/bin/redis-check-rdb"  # the server's other name
    if not unpacked.exists():
        _unpack(packages)
    link = packages / "redis-server"
    if not link.exists():
        link.symlink_to(unpacked)
    return [str(link)]


def _unpack(packages: Path) -> None:
    archives = packages / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(
            ["apt-get", "download", *PACKAGES],
            cwd=archives, check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        for archive in archives.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", archive, packages], check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise FailedError(f"no redis-server here, and Debian's cannot be had: {error}") from None


def _libraries(packages: Path) -> str:
    return ":".join(str(folder) for folder in packages.glob("usr/lib/*-linux-gnu"))


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    process.kill()
    raise FailedError(f"redis-server did not start: {log.read_text(errors='replace')[-500:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
