"""Who carries the risk: marginal and component VaR by position, by leg, by strategy.

VaR is homogeneous of degree 1 in the holdings, so that by Euler VaR = Σ wᵢ ∂VaR/∂wᵢ: the component of a
position is its holding times its marginal VaR, and components add up to VaR whatever the grouping. A negative
one belongs to a hedge: without it VaR would rise.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from engine import legs
from engine.events import FloatArray
from engine.ports import Layout

#: The name of what the opening book holds outside any spread.
OWN_BOOK = "book"


class Attribution(msgspec.Struct, frozen=True):
    """VaR of a book, split.

    Parameters
    ----------
    holding_usd, component_var_usd, marginal_var_frac : dict of str to float
        By symbol held, in the order of the universe. ``marginal_var_frac`` is USD of VaR for one more USD.
    strategy_gross_usd, strategy_var_usd : dict of str to float
        By strategy that holds anything: USD long and short of its own legs, and their part of VaR.
        What belongs to no spread is ``book``.
    """

    holding_usd: dict[str, float]
    component_var_usd: dict[str, float]
    marginal_var_frac: dict[str, float]
    strategy_gross_usd: dict[str, float]
    strategy_var_usd: dict[str, float]


def component_usd(holdings_usd: FloatArray, marginal_frac: FloatArray) -> FloatArray:
    """Return wᵢ ∂VaR/∂wᵢ, shape (n_symbols,); 0 for a symbol that is not held, whatever its marginal is."""
    return np.where(holdings_usd == 0.0, 0.0, holdings_usd * marginal_frac)


def attribute(
    layout: Layout, leg_quantity: FloatArray, price_usd: FloatArray, marginal_frac: FloatArray
) -> Attribution:
    """Split VaR by symbol and by strategy.

    Parameters
    ----------
    layout : Layout
    leg_quantity : FloatArray, shape (n_legs,)
        Shares.
    price_usd, marginal_frac : FloatArray, shape (n_symbols,)
        ``marginal_frac`` as ``RiskModel.marginal`` returns it for the netted book.
    """
    holdings = legs.holdings_usd(leg_quantity, layout.leg_symbol, price_usd)
    components = component_usd(holdings, marginal_frac)
    leg_usd = np.where(leg_quantity == 0.0, 0.0, leg_quantity * price_usd[layout.leg_symbol])
    leg_var_usd = component_usd(leg_usd, marginal_frac[layout.leg_symbol])
    gross_usd: dict[str, float] = {}
    var_usd: dict[str, float] = {}
    for leg in np.flatnonzero(leg_quantity).tolist():
        owner = _owner(layout, int(layout.leg_sleeve[leg]))
        gross_usd[owner] = gross_usd.get(owner, 0.0) + abs(float(leg_usd[leg]))
        var_usd[owner] = var_usd.get(owner, 0.0) + float(leg_var_usd[leg])
    held = np.flatnonzero(holdings).tolist()
    return Attribution(
        _by_symbol(layout.symbols, held, holdings),
        _by_symbol(layout.symbols, held, components),
        _by_symbol(layout.symbols, held, marginal_frac),
        gross_usd,
        var_usd,
    )


def _owner(layout: Layout, sleeve: int) -> str:
    return layout.spreads[sleeve].strategy if sleeve < len(layout.spreads) else OWN_BOOK


def _by_symbol(symbols: Sequence[str], held: list[int], values: FloatArray) -> dict[str, float]:
    return {symbols[i]: float(values[i]) for i in held}
