"""The machine of a world: its time, its disk, its halt marker, and how the processes on it end."""

from __future__ import annotations

import errno
from collections import Counter
from concurrent.futures import Executor
from typing import Final

import numpy as np

from engine.app.live.halt_marker import RaisedHalt
from tests.simulation.market import START_NS
from tests.simulation.plan import Fault, Plan
from tests.support.bad_disk import TAILS, BadDisk
from tests.support.virtual_time import Gone, VirtualClock, VirtualLoop

_MOODS: Final = ("solve_raises", "infeasible", "mad", "reckless")
_NEEDS_ROOM: Final = frozenset({"write", "create", "make_folder"})


class Marker:
    """The halt marker: what is raised is on disk at once, and outlives every process."""

    def __init__(self) -> None:
        self.raised: RaisedHalt | None = None

    def raise_(self, reason: str, detail: str, ts_ns: int) -> None:
        """Raise the halt."""
        self.raised = RaisedHalt(reason, detail, ts_ns)

    def read(self) -> RaisedHalt | None:
        """Return what was raised."""
        return self.raised


class Machine:
    """Time, disk and marker, and everything that may go wrong with them.

    Parameters
    ----------
    plan : Plan
    met : Counter
        What occurred.

    Attributes
    ----------
    is_dead : bool
        No process runs: what one still does reaches nobody.
    is_refusing : bool
        The disk has refused something in this life.
    loop : VirtualLoop or None
        Of the process that runs.
    """

    def __init__(self, plan: Plan, met: Counter[str]) -> None:
        self.clock = VirtualClock(START_NS)
        self.disk = BadDisk()
        self.marker = Marker()
        self.met = met
        self.is_dead = False
        self.is_refusing = False
        self.loop: VirtualLoop | None = None
        self.death = ""
        self._death_value = 0.0
        self._armed: tuple[str, int, float] | None = None
        self._start_bomb = 0
        self._has_error_armed = False
        self._rng = np.random.default_rng([plan.seed, 11])
        self._lasting: dict[tuple[str, str], list[Fault]] = {}
        self._noted: set[int] = set()
        for fault in plan.faults:
            if fault.until_s > fault.at_s:
                self._lasting.setdefault((fault.kind, fault.target), []).append(fault)

    # ------------------------------------------------------------------------------------ what is so now

    @property
    def now_s(self) -> float:
        """Seconds of the machine."""
        return self.clock.now_s

    def chance(self) -> float:
        """Draw a number in [0, 1)."""
        return float(self._rng.random())

    def active(self, kind: str, target: str = "") -> Fault | None:
        """Return the fault of a kind that lasts now, if there is one."""
        now_s = self.clock.now_s
        for fault in self._lasting.get((kind, target), ()):
            if fault.at_s <= now_s < fault.until_s:
                if id(fault) not in self._noted:
                    self._noted.add(id(fault))
                    self.met[f"fault {kind}"] += 1
                return fault
        return None

    def until_next(self, kind: str) -> float:
        """Return how long it is until a fault of a kind begins, seconds."""
        starts_s = (fault.at_s - self.now_s for fault in self._lasting.get((kind, ""), ()))
        return min((wait_s for wait_s in starts_s if wait_s > 0.0), default=1e9)

    def mood(self) -> str:
        """Say how the allocator answers now; empty for an honest answer."""
        return next((kind for kind in _MOODS if self.active(kind)), "")

    def delays(self, executor: Executor | None) -> tuple[float, float]:
        """Draw how long a thread takes: the allocator has one of its own, the others wait for the disk."""
        if getattr(executor, "_thread_name_prefix", "") == "allocator":
            slow = self.active("solve_slow")
            return 0.002 + 0.01 * self.chance() + (90.0 * slow.value**3 if slow else 0.0), 0.001
        slow = self.active("disk_slow")
        return 0.0002 + 0.004 * self.chance() * (1500.0 * slow.value if slow else 1.0), 0.0005

    # ------------------------------------------------------------------------------------------- endings

    def begin_life(self, may_crash: bool) -> None:
        """Let a process begin; one armed crash waits for the recovery after another."""
        self.is_dead = self.is_refusing = False
        self.disk.fault = self._on_disk
        if may_crash and self._start_bomb:
            self._armed, self._start_bomb = ("kill_io", self._start_bomb, self.chance()), 0
            self.met["fault double_crash"] += 1

    def die(self, how: str, value: float = 0.0) -> None:
        """End the process now, in the middle of whatever it does."""
        self.is_dead = True
        self.death, self._death_value = how, value
        self.met[f"fault {how}"] += 1
        if self.loop is not None:
            self.loop.stop()

    def arm(self, how: str, count: int, value: float) -> None:
        """Let the process die at the ``count``-th operation on the disk from now."""
        self._armed = (how, count, value)

    def arm_error(self) -> None:
        """Let the next operation on the disk fail."""
        self._has_error_armed = True

    def arm_start(self, count: int) -> None:
        """Let the recovery after the next crash die at its ``count``-th operation on the disk."""
        self._start_bomb = count

    def calm(self) -> None:
        """Let nothing happen that has not happened by now."""
        self._armed, self._start_bomb, self._has_error_armed = None, 0, False

    def find_disk(self) -> None:
        """Put in place the disk that the next process finds."""
        if self.death.startswith("power"):
            tail = TAILS[int(self._death_value * len(TAILS))]
            are_kept = (self._death_value * 10.0) % 1.0 < 0.5
            self.disk = self.disk.after_power_loss(tail, are_names_kept=are_kept)
            self.met[f"power loss leaves {tail}"] += 1
        else:
            self.disk = self.disk.after_kill()

    def _on_disk(self, _number: int, name: str) -> None:
        if self.is_dead:
            raise Gone
        if self._armed is not None:
            how, count, value = self._armed
            self._armed = (how, count - 1, value) if count > 1 else None
            if self._armed is None:
                self.die(how, value)
                if name == "write":  # for the disk an error: the first half of the data is there
                    raise OSError("the process ends in the middle of a write")
                raise Gone
        if self._has_error_armed:
            self._has_error_armed = False
            self.met["fault disk_error"] += 1
            self._refuse(errno.EIO)
        if name in _NEEDS_ROOM and self.active("disk_full"):
            self._refuse(errno.ENOSPC)

    def _refuse(self, number: int) -> None:
        self.is_refusing = True
        raise OSError(number, "the simulated disk refuses")
