"""A case: one day, lived through with a number of kills drawn from a seed, and judged after each."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
from redis import Redis

from engine.app.config.load import Config
from engine.events import Bar
from tests.campaign.judge import Outcome, after_kill, difference, outcome_of
from tests.campaign.life import Ending, Life, live
from tests.support.crash import AFTER, RECOVERY, TAILS, WINDOWS, Crash
from tests.support.publish import fields_of

#: Records after which a life that met no other end is ended, at least.
_RECORDS: Final = 200
_LIVES_MAX: Final = 60
RANDOM = "at a random time"
STEP = "step"


class Result(msgspec.Struct):
    """What became of a case; ``wrong`` is empty if every promise held."""

    case: int
    allocator: str
    endings: list[Ending]
    records: int = 0
    wrong: str = ""

    @property
    def kills(self) -> list[Ending]:
        """The lives that ended by a kill."""
        return [ending for ending in self.endings if ending.crash]


def planned(rng: np.random.Generator, is_torn: bool, focus: Sequence[Life] = ()) -> Life:
    """Draw the end of a life.

    Parameters
    ----------
    rng : Generator
    is_torn : bool
        The life before left a torn commit: the recovery is a critical window, too.
    focus : sequence of Life
        To draw from, instead of all.
    """
    cap = Crash(STEP, AFTER, int(rng.integers(_RECORDS, 3 * _RECORDS)))
    is_deaf = bool(rng.random() < 0.15)
    if focus:
        life = focus[int(rng.integers(len(focus)))]
        return msgspec.structs.replace(life, crashes=(*life.crashes, cap))
    if is_torn and rng.random() < 0.6:
        return Life((_drawn(rng, {"journal.truncate": RECOVERY["journal.truncate"]}), cap))
    kind = rng.random()
    if kind < 0.22:
        return Life((cap,), kill_after_s=float(rng.uniform(0.0, 0.25)), is_deaf=is_deaf)
    if kind < 0.30:
        return Life((_drawn(rng, {name: RECOVERY[name] for name in ("recover", "journal.sync")}), cap))
    if kind < 0.35:
        return Life((Crash(STEP, AFTER, int(rng.integers(1, _RECORDS))),), is_deaf=is_deaf)
    crash = _drawn(rng, WINDOWS)
    return Life((crash, cap), is_deaf=is_deaf, is_slow=crash.point == "solve")


def _drawn(rng: np.random.Generator, points: dict[str, tuple[tuple[str, ...], int]]) -> Crash:
    point = sorted(points)[int(rng.integers(len(points)))]
    phases, often = points[point]
    phase = phases[int(rng.integers(len(phases)))]
    tail = TAILS[int(rng.integers(len(TAILS)))] if rng.random() < 0.3 else ""
    return Crash(point, phase, int(rng.integers(1, often + 1)), tail)


class Day:
    """Where a case happens: a folder, a configuration, a server.

    Parameters
    ----------
    config : Config
    redis : Redis
        Emptied first.
    oracle : Outcome or None
        Of the same day without a kill.
    change : callable or None
        Called in every life first; breaks the engine on purpose, say.
    stream : sequence of Bar
        Bars that wait in Redis. Then ticks depend on how they were read, and the order of records is not
        compared: the bars, the decisions and the place in the stream are.
    """

    def __init__(
        self,
        config: Config,
        redis: Redis,
        oracle: Outcome | None = None,
        change: Callable[[], None] | None = None,
        stream: Sequence[Bar] = (),
    ) -> None:
        assert config.daemon is not None
        self.root = config.daemon.state_dir
        self.log = self.root.with_suffix(".log")
        self.config, self.redis, self.oracle, self.change = config, redis, oracle, change
        shutil.rmtree(self.root, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        redis.flushall()
        for number, bar in enumerate(stream, start=1):
            redis.xadd("astra:bars", fields_of(bar), f"{number}-0")
        self.is_ordered = not stream

    def live(self, life: Life) -> Ending:
        """Live once."""
        return live(self.config, life, self.log, self.change)

    def said(self) -> str:
        """Return the end of what the engine printed."""
        return self.log.read_text(errors="replace")[-1_500:]


def run_case(
    number: int,
    seed: int,
    allocator: str,
    day: Day,
    *,
    kills: int,
    focus: Sequence[Life] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Result:
    """Live through a day with kills; stop at the first promise that is broken."""
    rng = np.random.default_rng([seed, number, zlib.crc32(allocator.encode())])
    result = Result(number, allocator, [])
    is_torn = False
    while len(result.kills) < kills and len(result.endings) < _LIVES_MAX:
        life = planned(rng, is_torn, focus)
        ending = day.live(life)
        result.endings.append(ending)
        result.wrong = _look(day, ending, result)
        if result.wrong:
            return result
        tell(f"life {len(result.endings)}: {ending.crash or 'to the end'}, {result.records} records")
        is_torn = ending.crash.startswith("journal.") and (
            "middle" in ending.crash or "power" in ending.crash
        )
        if ending.status == 0:
            break
    result.wrong = _finish(day, result)
    return result


def _look(day: Day, ending: Ending, result: Result) -> str:
    """Judge the end of a life."""
    if ending.is_hung:
        return f"it hung\n{day.said()}"
    if not ending.crash and ending.status != 0:
        return f"it ended with {ending.status}\n{day.said()}"
    oracle = day.oracle if day.is_ordered else None
    result.records, wrong = after_kill(day.root, day.redis, oracle, result.records)
    return f"after a kill ({ending.crash}): {wrong}" if wrong else ""


def _finish(day: Day, result: Result) -> str:
    """Live to the end of the tape, start once more, and compare with the day without a kill."""
    for _ in range(2):
        ending = day.live(Life())
        result.endings.append(ending)
        if ending.status != 0 or ending.is_hung:
            return f"the last life ended with {ending.status}\n{day.said()}"
    if ending.replayed:
        return f"after a good end {ending.replayed} records were replayed"
    try:
        found = outcome_of(day.config, day.root, day.redis)
    except ValueError as error:
        return str(error)
    result.records = len(found.records)
    names = Outcome.__struct_fields__ if day.is_ordered else ("bars", "position", "digest")
    return "" if day.oracle is None else difference(found, day.oracle, names)
