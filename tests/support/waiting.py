"""Waiting for what must happen, with a deadline, and running what must stop with the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any


async def until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """Wait for a condition that nothing announces; TimeoutError after ``deadline_s`` seconds."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - it belongs to others, who set no event
            await asyncio.sleep(0.001)


@asynccontextmanager
async def background(work: Coroutine[Any, Any, object]) -> AsyncIterator[asyncio.Task[object]]:
    """Run something beside a test; on leaving it is cancelled and has ended."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
