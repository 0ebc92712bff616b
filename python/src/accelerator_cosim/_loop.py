# SPDX-License-Identifier: MIT OR Apache-2.0
"""A thread with an event loop: QMP, the agent and the supervisor speak at any time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# How often one who waits looks whether it still makes sense.
LOOK_SECONDS = 0.05


class LoopThread:
    """Runs coroutines for callers that are not asynchronous."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self.loop.run_forever, name="accelerator-cosim", daemon=True
        )
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T], look: Callable[[], None] | None = None) -> T:
        """Runs it to its end. `look` is called again and again meanwhile, and may raise."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            while True:
                done, _ = concurrent.futures.wait([future], LOOK_SECONDS if look else None)
                if done:
                    return future.result()
                if look:
                    look()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        async def cancel_all() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.call(cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
