"""Where the operator is put together: `python -m towpath_operator` runs it in a cluster.

`towpath dev` is put together in `dev.py` and found by the entry-point group `towpath.commands`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

from towpath_operator import metrics
from towpath_operator.health import HealthServer
from towpath_operator.logs import configure, log_what_python_tells
from towpath_operator.settings import Settings, SettingsError, read_settings

if TYPE_CHECKING:
    from towpath_operator.in_cluster import Running

logger = logging.getLogger(__name__)

SILENT_FOR: Final = 30.0
"""A work queue that has not turned for so long is stuck; the kubelet is to restart the operator."""

BAD_SETTING: Final = 2


def __getattr__(name: str) -> Any:
    """Load a command only where it is asked for: the operator in a cluster has no use for it."""
    if name == "dev":
        from towpath_operator.dev import dev  # noqa: PLC0415 - see above

        return dev
    if name == "crds":
        from towpath_operator.crds_command import crds  # noqa: PLC0415 - see above

        return crds
    if name == "plan":
        from towpath_operator.plan_command import plan  # noqa: PLC0415 - see above

        return plan
    raise AttributeError(name)


class Operator:
    """The parts of the operator in a cluster, and whether they are well."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._running: Running | None = None

    def stop(self) -> None:
        """End soon."""
        self._stop.set()

    def alive(self) -> Mapping[str, object]:
        """Tell whether the election and, where we lead, the work queue still turn."""
        if self._running is None:
            return {"starting": True}
        election = {"election": self._running.elector.silent_for < SILENT_FOR}
        leading = self._running.leading
        if leading is None or not leading.controller.ready.is_set():
            return election
        silent_for = asyncio.get_running_loop().time() - leading.controller.beat
        return election | {"workQueue": silent_for < SILENT_FOR}

    def ready(self) -> Mapping[str, object]:
        """Tell whether we can lead, or, where we do, whether everything was listed and is watched.

        Who stands by is ready: else a rollout would wait for ever for its second pod.
        """
        if self._running is None:
            return {"imported": False}
        leading, crds = self._running.leading, self._running.definitions.verdict
        if leading is None:
            return {"role": "standby", "crds": crds}
        return {
            "role": "leader",
            "crds": crds,
            "listed": leading.controller.ready.is_set(),
            "watching": leading.watch.ready,
            "children": leading.children.synced,
        }

    async def run(self) -> None:
        """Run until stopped; what of it runs is at its end when this returns."""
        health = HealthServer(alive=self.alive, ready=self.ready, metrics=metrics.page)
        port = await health.start(self._settings.port)
        logger.info("operator started", extra={"port": port, "namespace": self._settings.namespace})
        try:
            await self._until_stopped(self._work())
        finally:
            await health.stop()
            logger.info("operator stopped")

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Run some work until it ends, which is an error of its own, or until we are told to stop."""
        task = asyncio.create_task(work, name="operator")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _work(self) -> None:
        # The clients take a second to import, and the probes are answered meanwhile.
        start = await asyncio.to_thread(_import_cluster_parts)
        await start(self._settings, self._note_running)

    def _note_running(self, running: Running) -> None:
        self._running = running
        metrics.LEADER.set_function(lambda: float(running.fence.leads))


def _import_cluster_parts() -> Callable[
    [Settings, Callable[[Running], None]], Coroutine[Any, Any, None]
]:
    from towpath_operator.in_cluster import run_in_cluster  # noqa: PLC0415 - slow

    return run_in_cluster


async def serve(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT."""
    operator = Operator(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, operator.stop)
    await operator.run()


def main() -> int:
    """Run `python -m towpath_operator` and return its exit code."""
    try:
        settings = read_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_SETTING
    configure(settings.log_level)
    log_what_python_tells()
    try:
        asyncio.run(serve(settings))
    except OSError as error:
        logger.error("operator ended", extra={"error": str(error)})  # noqa: TRY400 - no bug of ours
        return 1
    except Exception:
        logger.exception("operator ended")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
