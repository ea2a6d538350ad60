"""Repo in a configuration: what a strategy reckons with must be what the feed charges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from engine.app.config.errors import Fault
from feeds.yields import REPO_QUOTE, YieldOptions
from strategies.treasury import TreasuryOptions

_WHY = "The edge of a tenor would be after one rate, and its index earn after another."


def repo_faults(feed: BaseModel, strategies: Sequence[tuple[int, BaseModel]]) -> Iterator[Fault]:
    """Refuse strategies whose repo is not that of the feed that finances the index.

    Parameters
    ----------
    feed : BaseModel
        Options of the feed; nothing is said of other kinds than ``yields``.
    strategies : sequence of (int, BaseModel)
        Place in the configuration, and options.

    Yields
    ------
    Fault
        C011.
    """
    if not isinstance(feed, YieldOptions):
        return
    for k, options in strategies:
        if isinstance(options, TreasuryOptions):
            yield from _of_one(feed, k, options)


def _of_one(feed: YieldOptions, k: int, options: TreasuryOptions) -> Iterator[Fault]:
    if options.repo_suffix is not None:
        if feed.repo is None and feed.repo_pct is None:
            what = f"strategy.{k}.repo_suffix names quotes that the feed does not have"
            yield Fault("C011", ("strategy", k, "repo_suffix"), what, "", "Give [feed] repo or repo_pct.")
        return
    path = ("strategy", k, "repo_pct")
    if feed.repo is not None:
        what = f"strategy.{k}.repo_pct must be left out: [feed] repo has a rate for each day"
        why = f'{_WHY}\nRead it from its quotes:\n    [[strategy]]  repo_suffix = "{REPO_QUOTE}"'
        yield Fault("C011", path, what, "", why, is_key=True)
    elif feed.repo_pct is not None:
        pairs = [(s, _rate(feed.repo_pct, s), _rate(options.repo_pct, s)) for s in options.tenors]
        known = [one for one in pairs if None not in one]
        odd = [f"{own:g} against {charged:g} of {symbol}" for symbol, charged, own in known if own != charged]
        if odd:
            what = f"strategy.{k}.repo_pct must be that of [feed], was {', '.join(odd)}"
            why = f'{_WHY}\nSay it once: repo_suffix = "{REPO_QUOTE}" reads the rates of the feed.'
            yield Fault("C011", path, what, "", why)


def _rate(given: float | dict[str, float] | None, symbol: str) -> float | None:
    return given.get(symbol) if isinstance(given, dict) else given
