"""One run of `towpath dev`: the database, the operator's reconcile on local processes, the files.

It joins parts that each know nothing of the others, and ends them in the opposite order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from towpath.local.folder import locked, write_private, write_state
from towpath.local.logs import LineLog
from towpath.local.supervise import Supervisor
from towpath_operator.adapters.postgres import PostgresDatabases
from towpath_operator.adapters.processes import ProcessCluster
from towpath_operator.assembly import assemble
from towpath_operator.controller import Controller
from towpath_operator.local.application import app_deployment, serves_by_itself
from towpath_operator.local.database import LocalDatabase, open_database, prepare
from towpath_operator.local.localise import DEFAULT_SCHEMA, OPERATOR_NAMESPACE, Objects, localise
from towpath_operator.local.manifests import ManifestsError, Sources, refused_updates
from towpath_operator.local.screen import Screen, ScreenHandler, StartBlock, condition
from towpath_operator.local.stopping import Stop
from towpath_operator.logs import configure
from towpath_operator.ports.cluster import (
    DEPLOYMENT,
    OUR_KINDS,
    POD,
    Kind,
    Manifest,
    ObjectKey,
    key_of,
)
from towpath_operator.render.names import POOL_LABEL

LOOK_EVERY_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 10.0
IMAGE: Final = "local"
INTERRUPTED: Final = 130

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says."""

    folder: Path
    sources: tuple[str, ...] = ()
    app: str | None = None
    database_url: str | None = None


class Session:
    """A run in one folder."""

    def __init__(self, options: Options, screen: Screen) -> None:
        self._options = options
        self._screen = screen
        self._began = time.monotonic()
        self._stop = Stop()
        self._supervisor = Supervisor(LineLog(sys.stderr))
        self._changed = asyncio.Event()
        self._applied: Objects = {}
        self._block_shown = False

    async def run(self) -> int:
        """Run until asked to stop; return the exit code.

        Raises:
            ManifestsError: a manifest cannot be used.
            DevRunningError: another dev runs in the folder.
        """
        self._stop.listen()
        # Until there is something to drain, a second Ctrl-C ends us at once; the guardian tidies up.
        self._stop.then(when_asked=lambda: None, when_urgent=lambda: os._exit(INTERRUPTED))
        self._sources = Sources(self._options.sources)
        self._manifests = self._sources.read()
        with locked(self._options.folder) as home:
            self._home = home
            self._keep_log()
            self._database: LocalDatabase = await open_database(home, self._options.database_url)
            try:
                await self._run_with_database()
            finally:
                await self._database.stop()
        return INTERRUPTED if self._stop.urgent else 0

    async def _run_with_database(self) -> None:
        await prepare(self._database, DEFAULT_SCHEMA)
        if self._stop.asked.is_set():
            return
        self._publish()
        self._cluster = ProcessCluster(
            supervisor=self._supervisor,
            home=self._home,
            folder=self._options.folder,
            changed=self._take_change,
            tell_event=self._say_event,
        )
        async with self._controller() as self._operator:
            self._stop.then(when_asked=self._say_stopping, when_urgent=self._kill)
            try:
                self._apply()
                await self._show_block()
                await self._follow()
            finally:
                self._cluster.close()
                await self._supervisor.close()

    @contextlib.asynccontextmanager
    async def _controller(self) -> AsyncIterator[Controller]:
        databases = PostgresDatabases()
        controller = assemble(
            self._cluster,
            databases,
            namespace=OPERATOR_NAMESPACE,
            cluster_uid=self._cluster.uid,
            default_image=IMAGE,
        )
        running = asyncio.create_task(controller.run(), name="controller")
        try:
            yield controller
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await databases.close()

    def _publish(self) -> None:
        """Tell the command line and programs in this folder where the database is."""
        server = self._database.server
        port = server.port if server is not None else None
        write_state(self._home, url=self._database.url, schema=DEFAULT_SCHEMA, port=port)
        write_private(self._home / "database-url", self._database.url + "\n")

    def _apply(self) -> None:
        """Make the cluster declare what the files do, and nothing that they no longer do."""
        wanted = localise(self._manifests, url=self._database.url, app=self._options.app)
        if self._options.app is not None and serves_by_itself(self._manifests):
            deployment = app_deployment(self._options.app, self._home / "database-url")
            wanted[deployment[0]] = deployment[1]
        for kind, key in self._applied.keys() - wanted.keys():
            self._cluster.withdraw(kind, key)
        for manifest in wanted.values():
            self._cluster.declare(manifest)
        self._applied = wanted

    async def _follow(self) -> None:
        """Take in changed files and keep Postgres up, until asked to stop."""
        while not self._stop.asked.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.asked.wait(), LOOK_EVERY_SECONDS)
                return
            if self._sources.changed():
                self._reread()
            if not self._database.running:
                await self._restart_database()

    def _reread(self) -> None:
        try:
            manifests = self._sources.read()
            problems = refused_updates(self._manifests, manifests)
        except ManifestsError as error:
            problems = error.problems
        if problems:
            for problem in problems:
                self._screen.error(problem)
            self._screen.say("the manifests stay as they were")
            return
        self._manifests = manifests
        self._apply()
        self._screen.say("manifests applied again")

    async def _restart_database(self) -> None:
        self._screen.say("PostgreSQL has ended; it is started again")
        await self._database.stop()
        self._database = await open_database(self._home, None)
        self._publish()
        self._apply()

    async def _show_block(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                while not (await self._settled() or self._stop.asked.is_set()):
                    self._changed.clear()
                    await self._changed.wait()
        if self._stop.asked.is_set():
            return
        for what in self._manifests.skipped:
            self._screen.say(f"skipped {what}: only Queue, WorkerPool and QueueDatabase run here")
        self._screen.block(
            StartBlock(
                seconds=time.monotonic() - self._began,
                database=self._database.description,
                manifests=self._manifests,
                watching=[name for name in self._options.sources if name != "-"],
                app=self._options.app,
            )
        )
        self._block_shown = True
        for kind in OUR_KINDS:
            for manifest in await self._cluster.list(kind):
                self._screen.verdict(kind, manifest)

    async def _settled(self) -> bool:
        """Tell whether each object is in force, or needs somebody to act."""
        for kind in OUR_KINDS:
            for manifest in await self._cluster.list(kind):
                ready = condition(manifest, "Ready") or {}
                if ready.get("status") != "True" and condition(manifest, "Stalled") is None:
                    return False
        for deployment in await self._cluster.list(DEPLOYMENT):
            status = deployment.get("status") or {}
            pods = await self._cluster.list(POD, namespace=deployment["metadata"]["namespace"])
            tried = any(
                container.get("restartCount")
                for pod in pods
                for container in (pod.get("status") or {}).get("containerStatuses") or ()
            )
            if not tried and status.get("readyReplicas", 0) < deployment["spec"]["replicas"]:
                return False
        return True

    def _take_change(self, kind: Kind, manifest: Manifest, *, gone: bool) -> None:
        """Tell the operator and the person of a change in the cluster."""
        self._changed.set()
        metadata = manifest["metadata"]
        key = key_of(manifest)
        if kind not in OUR_KINDS:
            pool = (metadata.get("labels") or {}).get(POOL_LABEL)
            if pool is not None:
                self._operator.child_changed(ObjectKey(key.namespace, pool))
            if kind == POD:  # also of the application that is served without a pool
                self._operator.pod_noticed(ObjectKey(key.namespace, pool or ""), manifest)
            return
        if gone:
            self._operator.removed(kind, manifest)
            self._screen.gone(kind, key)
            return
        self._operator.noticed(kind, manifest)
        if self._block_shown:
            self._screen.verdict(kind, manifest)

    def _say_event(self, about: Manifest, message: str) -> None:
        if self._block_shown:
            self._screen.event(about, message)

    def _say_stopping(self) -> None:
        self._screen.say("stopping: workers drain; Ctrl-C again stops at once")
        self._changed.set()

    def _kill(self) -> None:
        self._screen.say("stopped at once; work that was running goes on at the next start")
        self._supervisor.kill_all()

    def _keep_log(self) -> None:
        log = self._home / "dev.log"
        write_private(log, "")
        configure("INFO", log.open("a", encoding="utf-8"))
        logging.getLogger().addHandler(ScreenHandler(self._screen, log))
