"""A world: one machine, whose processes come and go, until nothing goes wrong any more and all must be well.

``simulate(plan)`` lives through it on virtual time. The same plan gives the same digest, in any process.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import Any, Final

import msgspec

from engine.errors import JournalError, ServiceError
from engine.events import Event, Filled, HaltRequested, Record, TradingState
from engine.ports import Effect
from engine.sinks.messages import EffectId
from engine.state import to_bytes
from tests.simulation import accounts, deeds
from tests.simulation.engine import anatomy
from tests.simulation.machine import Machine
from tests.simulation.market import messages_of
from tests.simulation.outside import Broker, Channel, FeedError, RedisServer, raw_of
from tests.simulation.plan import CALM_S, Fault, Knobs, Plan
from tests.simulation.process import ROOT, Process
from tests.simulation.reference import DurableLog, Reference, encode_events
from tests.simulation.setting import set_for
from tests.support.virtual_time import Gone, StalledError, VirtualLoop

_LIVES_MAX: Final = 80
_STOP_MAX_S: Final = 400.0
#: A halt is stepped at once, whatever is being solved; only a disk that keeps the stepper waits.
_HALT_MAX_S: Final = 0.01


class Outcome(msgspec.Struct):
    """What became of a world.

    Parameters
    ----------
    seed : int
    fault : str
        The promise that was broken, and how; empty if none was. The first word names the promise.
    digest : str
        Of everything that happened.
    met : dict of str to int
        How often what occurred.
    virtual_s : float
    records : list of bytes
        What was durable at the end.
    """

    seed: int
    fault: str
    digest: str
    met: dict[str, int]
    virtual_s: float
    records: list[bytes]


class World:
    """A world.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.knobs = plan.knobs
        self.met: Counter[str] = Counter()
        self.fault = ""
        self.machine = Machine(plan, self.met)
        self.machine.disk.make_folder(ROOT)
        self.broker = Broker(self, messages_of(plan))
        self.channel = Channel(self)
        self.server = RedisServer(self)
        self.heard: list[Effect] = []
        self.durable = DurableLog()
        self.reference = Reference(plan, self.accuse, self.met)
        self.operator = deeds.Operator(self)
        self.process: Process | None = None
        self.is_feed_broken = False
        self.is_finishing = False
        self.rotting: list[Fault] = []
        self.has_rotten_snapshot = False
        self._agenda = list(plan.faults)
        self._told: dict[int, tuple[bytes, bytes]] = {}
        self._lives: list[str] = []
        for message in self.broker.messages:
            self.met[f"bars {message.fault or 'sound'}"] += 1

    # ------------------------------------------------------------------------------------ what is judged

    def accuse(self, text: str) -> None:
        """Note a broken promise; the first one ends the world."""
        if not self.fault:
            self.fault = f"{text} (at {self.machine.now_s:.3f} s, life {len(self._lives) + 1})"
            if self.machine.loop is not None:
                self.machine.loop.stop()

    def check_durable(self, record: Record, verb: str) -> None:
        """Judge that a record is on disk before the outside hears of it."""
        self.durable.look(self.machine.disk)
        if not self.durable.has(raw_of(record)):
            self.accuse(f"durable: {type(record).__name__} was {verb} before it was on disk")

    def check_published(self, id_: EffectId) -> None:
        """Judge that the record of an effect is on disk before a receiver has it."""
        if id_[0] > len(self.durable.records):
            self.durable.look(self.machine.disk)
            if id_[0] > len(self.durable.records):
                self.accuse(f"durable: effect {id_} was published before record {id_[0]} was on disk")

    def clear_marker(self, halt: HaltRequested) -> None:
        """Clear the halt marker, whose halt must be on disk by now."""
        if not self.machine.is_dead:
            self.check_durable(halt, "taken for the marker")
            self.machine.marker.raised = None

    def note_recovered(self, seq: int, record: Record, events: list[Event]) -> None:
        """Compare what recovery says again with what was said."""
        if seq <= self.reference.seq:
            if raw_of(record) != self.durable.records[seq - 1]:
                self.accuse(f"replay: record {seq} is another than it was")
            elif encode_events(events) != self.reference.events[seq - 1]:
                self.accuse(f"replay: record {seq} says something else when it is recovered")

    def note_step(self, process: Process, seq: int, record: Record, events: list[Event]) -> None:
        """Keep what a process said, to be compared with the reference once it is durable."""
        self._told[seq] = (raw_of(record), encode_events(events))
        if process.signalled is not None and record == process.signalled[0]:
            waited_s, process.signalled = self.machine.now_s - process.signalled[1], None
            if waited_s > _HALT_MAX_S and self.knobs.ahead_max >= Knobs().ahead_max:
                self.accuse(f"halt: record {seq} waited {waited_s:.3f} s")
        if process.raised is not None:
            if process.loop.status.trading_state is TradingState.HALTED:
                process.raised = None
            elif any(isinstance(event, Filled) for event in events):
                self.accuse(f"halt: record {seq} fills before the halt of the marker is taken")

    def follow(self) -> None:
        """Let the reference take what became durable, and compare with what processes said."""
        reference, records = self.reference, self.durable.records
        while reference.seq < len(records) and not self.fault:
            reference.take(records[reference.seq])
            seq = reference.seq
            said = self._told.get(seq)
            if said is None or said[0] != records[seq - 1]:
                self.accuse(f"durable: record {seq} is on disk, and no process stepped it")
            elif said[1] != reference.events[-1]:
                self.accuse(f"replay: record {seq} says something else without interruption")
        self._told.clear()

    # ------------------------------------------------------------------------------------------- lives

    def live(self) -> None:
        """Live through the world."""
        while not self.fault and not (self._lives and self._lives[-1] == "finished"):
            while self._agenda and self._agenda[0].at_s <= self.machine.now_s:
                deeds.strike(self, self._agenda.pop(0))
            if self.machine.now_s >= self.plan.calm_from_s:
                self.machine.calm()
            if len(self._lives) > _LIVES_MAX:
                self.accuse("liveness: the engine does not come to its end")
                return
            process = self._start()
            if process is not None and not self.fault:
                self._lives.append(self._run(process))
                self.met[f"life {self._lives[-1]}"] += 1
            self.machine.clock.now_s += self.knobs.restart_s + len(self._lives)
        if not self.fault:
            accounts.settle(self)

    def _start(self) -> Process | None:
        """Recover; None if the machine, or the engine, will not."""
        machine = self.machine
        machine.begin_life(may_crash=bool(self._lives) and self._lives[-1].startswith("crashed"))
        restore = deeds.rot(self)
        try:
            process = Process(self)
        except Gone:
            self.met["recovery crashed"] += 1
            self._lives.append("crashed in recovery")
            machine.find_disk()
            return None
        except JournalError as error:
            if restore is None:
                self.accuse(f"recovery: refused to start: {error.code} {error.what} {error.where}")
                return None
            self.met[f"recovery refused {error.code}"] += 1
            restore()
            return None
        except ServiceError as error:
            if not machine.is_refusing:
                self.accuse(f"recovery: {error.code} {error.what} on a disk that is well")
            self.met["recovery refused by the disk"] += 1
            return None
        if restore is not None:
            restore()
        self._compare(process)
        return process

    def _compare(self, process: Process) -> None:
        """Bring the reference to the end of the log, and compare with what was recovered."""
        found, met = process.recovered, self.met
        self.durable.look(self.machine.disk)
        self.follow()
        if process.loop.seq != len(self.durable.records):
            last = len(self.durable.records)
            self.accuse(f"recovery: ends at record {process.loop.seq}, the disk at {last}")
        elif to_bytes(anatomy(process.loop)) != to_bytes(anatomy(self.reference.loop)):
            self.accuse(f"recovery: the state after record {process.loop.seq} is not that of the log")
        met["recovery torn tail"] += found.torn_bytes > 0
        met["recovery from a snapshot"] += found.snapshot_seq > 0
        met["recovery without snapshot"] += found.snapshot_seq == 0 and found.replayed > 0
        met["recovery past a damaged snapshot"] += bool(found.skipped_snapshots)
        met["recovery after an orderly end"] += found.is_closed
        met["recovery of a problem"] += found.problem is not None
        met["recovery halted"] += process.loop.status.trading_state is TradingState.HALTED

    def _run(self, process: Process) -> str:
        """Run a process to its end, and say how it ended."""
        machine = self.machine
        self.process = process
        machine.loop = loop = VirtualLoop(machine.clock, machine.delays)
        loop.set_exception_handler(self._on_unhandled)
        self._schedule(loop)
        main = loop.create_task(process.serve())
        main.add_done_callback(lambda _: machine.is_dead or loop.stop())
        try:
            loop.run_forever()
        except StalledError:
            self.accuse("liveness: everything waits, and nothing will come")
        has_crashed = machine.is_dead
        how = f"crashed: {machine.death}" if has_crashed else self._how(main)
        self.process = machine.loop = None
        machine.is_dead = True
        _bury(loop)
        if has_crashed:
            machine.find_disk()
        return how

    def _how(self, main: asyncio.Task[None]) -> str:
        if self.fault:
            return "accused"
        error = main.exception()
        if error is None:
            return "finished" if self.is_finishing else "stopped"
        is_of_disk = isinstance(error, ServiceError) and self.machine.is_refusing
        if not (is_of_disk or isinstance(error, FeedError)):
            self.accuse(f"end: the engine fails with {type(error).__name__}: {error}")
        return f"failed: {type(error).__name__}"

    def _schedule(self, loop: VirtualLoop) -> None:
        def strike_next() -> None:
            if self._agenda and not self.machine.is_dead:
                deeds.strike(self, self._agenda.pop(0))
                arm()

        def arm() -> None:
            if self._agenda:
                loop.call_at(max(self._agenda[0].at_s, self.machine.now_s), strike_next)

        arm()
        calm_s = max(self.plan.calm_from_s, self.machine.now_s)
        loop.call_at(calm_s, self.machine.calm)
        loop.call_at(calm_s + CALM_S, accounts.finish, self, loop)
        loop.call_at(calm_s + CALM_S + _STOP_MAX_S, self.accuse, "liveness: the engine does not stop")

    def _on_unhandled(self, _loop: Any, context: dict[str, Any]) -> None:
        if not (self.machine.is_dead or self.fault):
            what = context.get("exception", context.get("task"))
            self.accuse(f"end: nobody handles {context.get('message')}: {what!r}")

    def digest(self) -> str:
        """Hash everything that happened."""
        sha = hashlib.sha256()
        for raw, events in zip(self.durable.records, self.reference.events, strict=False):
            sha.update(raw + events)
        sha.update(repr(sorted(self.server.streams.items())).encode())
        sha.update(repr([(effect.seq, effect.index) for effect in self.heard]).encode())
        sha.update(repr((self._lives, self.machine.now_s, self.fault, sorted(self.met.items()))).encode())
        return sha.hexdigest()


def _bury(loop: VirtualLoop) -> None:
    """End the tasks that a process leaves, as the end of a process does."""
    tasks = sorted(asyncio.all_tasks(loop), key=hash)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.set_exception_handler(lambda *_: None)
    loop.close()


def simulate(plan: Plan) -> Outcome:
    """Live through one world."""
    world = World(plan)
    with set_for(world.machine, world.server, world.knobs):
        world.live()
    now_s = world.machine.now_s
    return Outcome(plan.seed, world.fault, world.digest(), dict(world.met), now_s, world.durable.records)
