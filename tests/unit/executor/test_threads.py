"""The pool of threads grows where jobs block, and only there."""

from __future__ import annotations

import asyncio
import threading

from towpath.executor.threads import WorkerThreads


def test_blocking_jobs_all_run_at_once() -> None:
    """Fifty jobs that wait for each other end, so each had a thread."""
    barrier = threading.Barrier(51)

    def job() -> None:
        barrier.wait(10)

    async def run() -> None:
        threads = WorkerThreads(asyncio.get_running_loop())
        threads.submit([job] * 50)
        await asyncio.to_thread(barrier.wait, 10)
        threads.close()

    asyncio.run(run())


def test_jobs_that_block_for_milliseconds_get_threads_beside_each_other() -> None:
    """A job of three milliseconds never stalls the pool; it is worth a thread all the same."""
    names: set[str] = set()
    done = threading.Semaphore(0)

    def job() -> None:
        names.add(threading.current_thread().name)
        threading.Event().wait(0.003)
        done.release()

    async def run() -> None:
        threads = WorkerThreads(asyncio.get_running_loop())
        threads.submit([job] * 300)
        await asyncio.to_thread(lambda: [done.acquire(timeout=10) for _ in range(300)])
        threads.close()

    asyncio.run(run())
    assert len(names) > 4


def test_short_jobs_need_few_threads() -> None:
    """Ten thousand short jobs in batches are run by a handful of threads."""
    names: set[str] = set()
    done = threading.Semaphore(0)

    def job() -> None:
        names.add(threading.current_thread().name)
        done.release()

    async def run() -> None:
        threads = WorkerThreads(asyncio.get_running_loop())
        for _ in range(100):
            threads.submit([job] * 100)
            await asyncio.to_thread(lambda: [done.acquire(timeout=10) for _ in range(100)])
        threads.close()

    asyncio.run(run())
    assert len(names) < 10
