"""Event loops in threads of the library's own, started when first needed.

I/O and heartbeats run on one; async workflows run on another, so that user code which blocks its loop
delays other workflows but never a heartbeat.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
TaskFactory = Callable[..., asyncio.Future[Any]]

STOP_SECONDS = 10.0

logger = logging.getLogger("towpath.engine")


class LoopThread:
    """An asyncio loop in a daemon thread. Once stopped it is not started again."""

    def __init__(self, name: str, *, task_factory: TaskFactory | None = None) -> None:
        self._name = name
        self._task_factory = task_factory
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._ended = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; the first use starts its thread.

        Raises:
            RuntimeError: it has been stopped.
        """
        if self._loop is None:
            with self._lock:
                if self._stopped:
                    raise RuntimeError(
                        f"the loop of {self._name} is stopped; shutdown() was called"
                    )
                if self._loop is None:
                    self._loop = self._start()
        return self._loop

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        if self._task_factory is not None:
            loop.set_task_factory(self._task_factory)
        self._thread = threading.Thread(
            target=self._run, args=(loop,), name=self._name, daemon=True
        )
        self._thread.start()
        return loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            while not self._ended:
                try:
                    loop.run_forever()
                except (SystemExit, KeyboardInterrupt) as error:
                    # A task raised it. Who awaits the task is told; the loop is not one task's to end.
                    logger.warning("a task tried to end its loop", extra={"error": repr(error)})
        finally:
            loop.close()

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ended = True
        loop.stop()

    @property
    def stopped(self) -> bool:
        """Whether it runs nothing more."""
        return self._stopped

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in this loop's thread."""
        return self._thread is threading.current_thread()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the loop; the future may be awaited from any thread or loop.

        Raises:
            RuntimeError: the loop has been stopped.
        """
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:
            coroutine.close()
            raise

    def stop(self) -> None:
        """Cancel what still runs on the loop, end it and wait for its thread.

        A loop that a user's code blocks is left to end once that code does.
        """
        with self._lock:
            self._stopped = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        if thread is threading.current_thread():
            self._end(loop)
            return
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(timeout=STOP_SECONDS)
            loop.call_soon_threadsafe(self._end, loop)
            thread.join(timeout=STOP_SECONDS)
            return
        loop.call_soon_threadsafe(self._end, loop)


async def _cancel_all() -> None:
    """Cancel every other task of this loop and wait until each has ended."""
    others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=5)
    await asyncio.get_running_loop().shutdown_asyncgens()
