"""Looks host names up side by side: one that nobody answers for delays no other database."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

LOOK_UPS: Final = 64


def resolve_side_by_side() -> None:
    """Give the running loop threads enough for the names of all databases.

    Each connect looks its host up in a thread of the loop's, where a dead name server holds it for many
    seconds; by default there are a few more threads than processors.
    """
    executor = ThreadPoolExecutor(LOOK_UPS, thread_name_prefix="towpath-look-up")
    asyncio.get_running_loop().set_default_executor(executor)
