"""Who carried the risk when a run ended: holdings, component and marginal VaR for the summary."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from engine.desk import TradingDesk
from risk.attribution import Attribution, attribute

_NOBODY = Attribution({}, {}, {}, {}, {})


def risk_at_end(desk: TradingDesk | None) -> dict[str, dict[str, float | None]]:
    """Split the VaR of the book as it is held now.

    Parameters
    ----------
    desk : TradingDesk or None
        None for a run that kept no book.

    Returns
    -------
    dict
        The fields of ``risk.attribution.Attribution``; empty for a flat book, figures None when unknown.
    """
    split = _NOBODY
    if desk is not None:
        book = desk.book
        marginal = desk.risk.marginal(book.holdings_usd)
        if desk.price_reason:  # components of stale prices would look like knowledge
            marginal = np.full(len(marginal), math.nan)
        split = attribute(book.layout, book.leg_quantity, book.price_usd, marginal)
    return {name: _known(values) for name, values in msgspec.structs.asdict(split).items()}


def _known(values: dict[str, Any]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
