"""Starts what a test then kills: run as a program, with a folder and what to start."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from towpath.local import postgres
from towpath.local.children import Command
from towpath.local.folder import locked, write_state
from towpath.local.logs import LineLog
from towpath.local.supervise import Supervisor


def start_postgres(folder: Path) -> None:
    """Start Postgres as `towpath dev` does, say so, and wait to be ended."""
    with locked(folder) as home:
        server = postgres.start(home)
        write_state(home, url=server.url, schema="towpath", port=server.port)
        sys.stdout.write(f"{server.pid} {server.guardian.pid}\n")
        sys.stdout.flush()
        sys.stdin.read()
        server.stop()


async def supervise(folder: Path) -> None:
    """Keep two processes running that each have a child of their own."""
    supervisor = Supervisor(LineLog(sys.stderr))
    script = "sleep 1000 & echo $$ $! >> pids; wait"
    command = Command(argv=["/bin/sh", "-c", script], env={"PATH": "/bin:/usr/bin"}, cwd=folder)
    for name in ("one", "two"):
        supervisor.launch(name, command)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await supervisor.close()


if __name__ == "__main__":
    if sys.argv[1] == "postgres":
        start_postgres(Path(sys.argv[2]))
    else:
        asyncio.run(supervise(Path(sys.argv[2])))
