"""How large a position is when it is entered, against what one lot of it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from engine.app.config.load import Config
from engine.app.wiring import capital_of, instruments_of, layout_of
from engine.events import FloatArray
from engine.ports import AllocatorContext, Spread
from feeds.calendars import minutes_per_session


class LegSize(msgspec.Struct, frozen=True):
    """A leg of a spread at its entry.

    Parameters
    ----------
    symbol : str
    size_usd : float
        The most it can be.
    lot_usd : float
        What one lot of it stands for.
    key : str
        Of the option that sets the size.
    value : float
        Of that option.
    """

    symbol: str
    size_usd: float
    lot_usd: float
    key: str
    value: float


def entry_sizes(
    config: Config, spreads: Sequence[Spread], usd_ratio: FloatArray, price_usd: FloatArray
) -> Iterator[tuple[LegSize, ...]]:
    """Yield the legs of each spread that are traded in lots.

    Under ``direct`` the size is what is entered; under an allocator that solves it is what its caps on gross,
    on a name and on the strategy's capital allow, and usually less. Of others nothing is known.

    Parameters
    ----------
    config : Config
    spreads : sequence of Spread
        Of all strategies.
    usd_ratio : FloatArray, shape (n_spreads,)
        USD of x against 1 USD of y; NaN when unknown.
    price_usd : FloatArray, shape (n_symbols,)
        Of one unit held, in the order of the universe; NaN when unknown.
    """
    layout = layout_of(config.symbols, spreads, (), instruments_of(config))
    session_min = minutes_per_session(config.universe.calendar)
    context = AllocatorContext(layout, session_min, config.universe.bar_min, capital_of(config))
    lot_usd = dict(zip(config.symbols, (layout.lot * price_usd).tolist(), strict=True))
    for spread, ratio, share in zip(spreads, np.abs(usd_ratio).tolist(), context.share_frac, strict=True):
        parts = ((spread.y, 1.0 / (1.0 + ratio)), (spread.x, ratio / (1.0 + ratio)))
        legs = [(symbol, part) for symbol, part in parts if symbol and lot_usd[symbol] > 0.0 and part > 0.0]
        yield tuple(
            LegSize(symbol, size_usd, lot_usd[symbol], key, value)
            for symbol, part in legs
            for size_usd, key, value in _largest(config, spread.strategy, float(share), part)
        )


def _largest(
    config: Config, strategy: str, share_frac: float, part: float
) -> Iterator[tuple[float, str, float]]:
    """Yield the most that a leg can be, ``part`` of its spread's gross, and the option that says so."""
    options: Any = config.allocator.options
    equity_usd, capital_frac = config.book.equity_usd, capital_of(config).get(strategy)
    if hasattr(options, "unit_usd"):
        if capital_frac is None:
            yield options.unit_usd * part, "unit_usd", options.unit_usd
        else:
            yield share_frac * equity_usd * part, "capital_frac", capital_frac
    elif hasattr(options, "gross_max_frac"):
        caps = {"gross_max_frac": options.gross_max_frac * part, "name_max_frac": options.name_max_frac}
        values = {"gross_max_frac": options.gross_max_frac, "name_max_frac": options.name_max_frac}
        if capital_frac is not None:
            caps["capital_frac"], values["capital_frac"] = capital_frac * part, capital_frac
        key = min(caps, key=caps.__getitem__)
        yield caps[key] * equity_usd, key, values[key]
