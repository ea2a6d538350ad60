"""Threads for what may wait for a disk or a network, and is not waited for at the end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

#: More than all sinks, spools and vendors can keep busy at once: one that waits never holds up another.
_THREADS: Final = 32


class Threads(ThreadPoolExecutor):
    """The default executor of a live run: a call that never returns does not keep the loop from closing."""

    def __init__(self) -> None:
        super().__init__(_THREADS, "io")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Take nothing more; whatever still runs is left to the end of the process."""
        super().shutdown(wait=False, cancel_futures=True)
