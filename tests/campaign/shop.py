"""Runs cases on every core: oracles first, then variants in turn, then engines broken on purpose."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
from redis import Redis

from engine.app.keys import HALT_KEY as HALT_NAME
from engine.app.keys import OPERATOR_KEY as OPERATOR_NAME
from engine.app.live.servers import RedisServer
from engine.events import Bar, Record
from tests.campaign import day
from tests.campaign.cases import Day, Result, run_case
from tests.campaign.judge import Outcome, outcome_of
from tests.campaign.life import Life
from tests.campaign.mutants import MUTANTS
from tests.campaign.stream import until
from tests.support.crash import AFTER, BEFORE, MIDDLE, TAILS, Crash

#: Lives that leave a torn commit, and lives that are killed while they cut one off.
TORN: Final = (
    *(Life((Crash("journal.write", MIDDLE, n),)) for n in (1, 2, 4, 8)),
    *(Life((Crash("journal.sync", BEFORE, n, tail),)) for n in (2, 5) for tail in TAILS),
    *(Life((Crash("journal.truncate", phase),)) for phase in (BEFORE, AFTER)),
    Life((Crash("journal.sync", BEFORE, 1),)),
)
_MUTANT_CASES: Final = 4
_TELL_EVERY: Final = 100


class Variant(msgspec.Struct, frozen=True):
    """A way to live the day, and which share of the kills it gets."""

    allocator: str
    share: float
    lives: tuple[Life, ...] = ()
    is_stream: bool = False


VARIANTS: Final[dict[str, Variant]] = {
    "mean_variance": Variant("mean_variance", 0.40),
    "direct": Variant("direct", 0.35),
    "torn": Variant("mean_variance", 0.10, TORN),
    "stream": Variant("direct", 0.15, is_stream=True),
}


class Shop:
    """Everything that cases need; made before the processes that run them.

    Parameters
    ----------
    root : Path
        An empty folder.
    seed : int
    per_day : int
        Kills in a case, at most.
    """

    def __init__(self, root: Path, seed: int, per_day: int) -> None:
        self._root = root
        self._seed = seed
        self._per_day = per_day
        self._server: RedisServer | None = None
        self._oracles: dict[str, Outcome] = {}
        self._orders: dict[str, dict[str, list[Record]]] = {}
        os.environ |= {OPERATOR_NAME: day.OPERATOR_KEY, HALT_NAME: day.HALT_KEY}
        config = day.config_of(root, day.ALLOCATORS[0])
        tape = day.tape_of(config)
        self._bars = [arrival.record for arrival in tape if isinstance(arrival.record, Bar)]
        for allocator in day.ALLOCATORS:
            config = day.config_of(root, allocator)
            self._orders[allocator] = day.orders_of(config, tape)
        day.prepare()
        for name, variant in VARIANTS.items():
            key = _oracle_key(variant)
            if key not in self._oracles:
                self._oracles[key] = self._oracle(name)
        assert self._server is not None
        self._server.stop()
        self._server = None

    def _oracle(self, name: str) -> Outcome:
        """Live the day without a kill."""
        stage = self._stage(name)
        result = run_case(0, self._seed, name, stage, kills=0)
        if result.wrong:
            raise RuntimeError(f"the day without a kill, {name}: {result.wrong}")
        return outcome_of(stage.config, stage.root, stage.redis)

    def _stage(self, name: str, change: Callable[[], None] | None = None) -> Day:
        """Set up a case in this process: its server and folder serve one case after the other."""
        variant = VARIANTS[name]
        folder = self._root / str(os.getpid())
        if self._server is None:
            folder.mkdir(exist_ok=True)
            self._server = RedisServer(folder / "redis", appendonly=False).start()
        url = self._server.link.url
        feed = "redis_stream" if variant.is_stream else "simulated"
        config = day.config_of(folder, variant.allocator, url, feed=feed)
        stream: Sequence[Bar] = self._bars if variant.is_stream else ()
        orders = self._orders[variant.allocator]

        def begin() -> None:
            day.put_into_feed(orders)
            if variant.is_stream:
                until(f"{len(stream)}-0")()
            if change is not None:
                change()

        return Day(config, Redis.from_url(url), self._oracles.get(_oracle_key(variant)), begin, stream)

    def case(self, name: str, number: int, tell: Callable[[str], None] = lambda _: None) -> Result:
        """Run one case of a variant."""
        variant = VARIANTS[name]
        stage, kills = self._stage(name), self._per_day
        return run_case(number, self._seed, name, stage, kills=kills, focus=variant.lives, tell=tell)

    def mutant(self, place: int) -> Result:
        """Run cases of a broken engine until it is found out."""
        mutant = MUTANTS[place]
        result = Result(place, mutant.name, [])
        for number in range(_MUTANT_CASES):
            stage = self._stage(day.ALLOCATORS[0], mutant.change)
            kills = self._per_day
            one = run_case(number, self._seed, mutant.name, stage, kills=kills, focus=mutant.lives)
            result.endings += one.endings
            result.wrong = one.wrong
            if one.wrong:
                break
        return result

    def run(self, kills: int, workers: int, *, mutants: int) -> dict[str, list[Result]]:
        """Run cases until every variant has its kills; return results by variant, and of ``mutants``."""
        gc.freeze()  # what is shared with the forks is not to be copied by counting references to it
        global _shop  # noqa: PLW0603 - how a forked worker knows what was made before it
        _shop = self
        results: dict[str, list[Result]] = {name: [] for name in VARIANTS}
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(workers, context) as pool:
            broken = [pool.submit(_run, "", place) for place in range(min(mutants, len(MUTANTS)))]
            for name, result in _spread(pool, kills, workers):
                results[name].append(result)
                if result.wrong:
                    break
            results["mutants"] = [future.result() for future in broken]
        return results


def _spread(pool: ProcessPoolExecutor, kills: int, workers: int) -> Iterator[tuple[str, Result]]:
    """Run cases, the variant that is furthest behind its share first, until there are ``kills``."""
    numbers = {name: count() for name in VARIANTS}
    done = dict.fromkeys(VARIANTS, 0.0)
    running: dict[Future[Result], str] = {}
    told = total = 0
    while total < kills or running:
        while total < kills and len(running) < workers:
            name = min(VARIANTS, key=lambda name: done[name] / VARIANTS[name].share)
            done[name] += 1.0
            running[pool.submit(_run, name, next(numbers[name]))] = name
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            name, result = running.pop(future), future.result()
            total += len(result.kills)
            yield name, result
        if total // _TELL_EVERY > told:
            told = total // _TELL_EVERY
            sys.stderr.write(f"{total} kills\n")


def _oracle_key(variant: Variant) -> str:
    return f"{variant.allocator} {'stream' if variant.is_stream else 'tape'}"


_shop: Any = None


def _run(name: str, number: int) -> Result:
    """Run a case in a worker; without a name, a broken engine."""
    result: Result = _shop.case(name, number) if name else _shop.mutant(number)
    return result
