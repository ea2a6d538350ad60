"""Convertible bonds against their stock: long volatility where a bond is priced for less than it is worth.

The price of a bond implies a volatility (``strategies/convertible_bond.py``). Where that is below the fair
one by ``entry_vol_frac``, and the price by what such volatility is worth, the bond is bought and delta shares
of the stock are sold; when delta has moved by ``delta_band``, the side is said again, and the stock alone
trades. docs/maths/convertible.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.errors import ConfigError
from engine.events import CLOSE, SIDES, BarSlice, BoolArray, FloatArray, Signal, SpreadNoted
from engine.ports import Outlook, State, StrategyContext
from strategies.convertible_bond import VOL_MAX_FRAC, VOL_MIN_FRAC, BondModel, ConvertibleTerms, quantlib
from strategies.deals import day_number
from strategies.pair_options import pair_legs, pair_spreads, split_pair

#: Rows of what the prices of a bar say: implied volatility, delta with it, and price with the fair one.
_IMPLIED: Final = 0
_DELTA: Final = 1
_FAIR: Final = 2
_POINTS: Final = 100.0
#: Rates of a bond model are continuous, actual/365.
_DAYS_PER_YEAR: Final = 365.0


class ConvertibleOptions(BaseModel):
    """``[[strategy]] kind = "convertible"``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {
                    "bonds": [
                        {
                            "symbol": "AAA",
                            "stock": "BBB",
                            "conversion_ratio": 12.0,
                            "maturity": "2021-07-01",
                            "credit_spread_frac": 0.06,
                            "vol_frac": 0.4,
                        }
                    ],
                    "rate_frac": 0.02,
                    "delta_band": 0.001,
                    "steps": 15,
                }
            ]
        },
    )

    bonds: tuple[ConvertibleTerms, ...] = Field(min_length=1, description="The bonds, each with its terms.")
    rate_frac: float = Field(ge=-0.1, le=1.0, description="Riskless rate, a year, continuous.")
    entry_vol_frac: float = Field(
        0.05, gt=0.0, lt=1.0, description="Enter when the price implies so much less volatility than is fair."
    )
    exit_vol_frac: float = Field(
        0.01, ge=0.0, lt=1.0, description="Leave when it implies no less than that below the fair one."
    )
    vega_min_frac: float = Field(
        0.1,
        gt=0.0,
        le=2.0,
        description="A point of volatility counts in full where it is worth so many percent of the price.",
    )
    delta_band: float = Field(
        0.05, gt=0.0, lt=1.0, description="Hedge again when delta has moved by this share of the shares."
    )
    vol_window_sessions: int = Field(
        60, ge=10, le=2_000, description="Sessions whose closes are the realised volatility."
    )
    leave_days: int = Field(
        30, ge=1, le=3_660, description="Leave so many calendar days before the maturity; enter before."
    )
    steps: int = Field(51, ge=11, le=2_001, description="Steps of the tree, an odd number.")

    @property
    def pairs(self) -> tuple[str, ...]:
        """Bond and stock of every spread."""
        return tuple(bond.name for bond in self.bonds)

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if not self.exit_vol_frac < self.entry_vol_frac:
            raise ValueError(
                f"exit_vol_frac must be below entry_vol_frac ({self.entry_vol_frac:g}), "
                f"was {self.exit_vol_frac:g}"
            )
        if self.steps % 2 == 0:
            raise ValueError(f"steps must be odd, was {self.steps}: only then the tree converges smoothly")
        symbols = [bond.symbol for bond in self.bonds]
        if len(set(symbols)) < len(symbols):
            raise ValueError(f"bonds must name each bond once, was {', '.join(symbols)}")
        for bond in self.bonds:
            split_pair(bond.name)
        return self


class Convertible:
    """The strategy; its spreads are bond over stock, in the order of the configuration.

    The hedge is delta shares at the implied volatility: b = dP/dS S / P, with P the bond's clean quote. In
    outlooks and signals ``z`` is how cheap the bond is in volatility points, no more of them than its price
    shows, ``beta`` dP/dS, ``alpha`` the price at the fair volatility and ``innovation`` what the quote is
    below it.

    Parameters
    ----------
    options : ConvertibleOptions
    context : StrategyContext
        Its history, where there is one, holds the first closes of the realised volatility.

    Raises
    ------
    ConfigError
        C210 for a symbol outside the universe, C234 without QuantLib, C235 for a bond in another currency
        than its stock.
    """

    def __init__(self, options: ConvertibleOptions, context: StrategyContext) -> None:
        quantlib()  # refuse now, and not at the first bar
        self.name = context.name
        self.spreads = pair_spreads(options.pairs, context)
        self._options = options
        self._bonds = options.bonds
        self._legs = pair_legs(self.spreads, context)
        _require_one_currency(options, context)
        self._horizon_days = context.horizon_days
        self._sessions_per_year = context.sessions_per_year
        n = len(self._bonds)
        self._maturity_day = np.array([day_number(bond.maturity) for bond in self._bonds])
        self._models: list[BondModel | None] = [None] * n
        self._closes = _closes_before(options, context)
        self._today: FloatArray = np.full(n, np.nan)
        self._session = -1
        self._vol: FloatArray = np.full(n, np.nan)
        self._prices: FloatArray = np.full((2, n), np.nan)
        self._is_seen: BoolArray = np.zeros(n, dtype=np.bool_)
        self._values: FloatArray = np.full((3, n), np.nan)
        self._side: FloatArray = np.zeros(n)
        self._hedged: FloatArray = np.full(n, np.nan)

    def on_slice(self, slice_: BarSlice) -> Sequence[Signal | SpreadNoted]:
        """Take one bar; return transitions and new hedges, each with a note of the figures behind it."""
        if slice_.session != self._session:
            self._begin(slice_.session)
        prices = slice_.bars[CLOSE][self._legs]
        self._today = np.where(np.isfinite(prices[1]), prices[1], self._today)
        self._is_seen = np.isfinite(prices).all(axis=0)
        said: list[Signal | SpreadNoted] = []
        for k in np.flatnonzero(self._is_seen).tolist():
            if (prices[:, k] != self._prices[:, k]).any() or np.isnan(self._values[_IMPLIED, k]):
                self._prices[:, k] = prices[:, k]
                self._value(k)
            said += self._decide(slice_, k)
        return said

    def outlook(self) -> Outlook:
        """Return the view after the last bar; a bond without a fair price is expected to earn nothing."""
        _, delta, fair = self._values
        bond, stock = self._prices
        ratio = delta * stock / bond
        days = np.maximum(self._days, 1.0)
        ahead_days = np.minimum(self._horizon_days, days)
        cheap, drift = fair / bond - 1.0, self._drift_frac(bond, ratio)
        earned = (cheap * ahead_days / days + drift * ahead_days / _DAYS_PER_YEAR) / (1.0 + ratio)
        return Outlook(
            side=self._side,
            z=np.where(self._is_seen, _POINTS * self._cheap_frac, np.nan),
            beta=delta,
            alpha=fair,
            innovation=np.where(self._is_seen, fair - bond, np.nan),
            innovation_var=np.full(len(self.spreads), np.nan),
            usd_ratio=ratio,
            expected_return_frac=np.where(np.isfinite(earned), earned, 0.0),
            frozen_usd_ratio=np.where(self._side != 0.0, self._hedged * stock / bond, ratio),
        )

    @property
    def _cheap_frac(self) -> FloatArray:
        """Volatility that the bonds are priced below what is fair, as far as the prices show it.

        Where volatility hardly moves a price, as under a call, the price implies any: then what it is below
        the fair price counts, at ``vega_min_frac``.
        """
        implied, _, fair = self._values
        shown = np.maximum(fair / self._prices[0] - 1.0, 0.0) / self._options.vega_min_frac
        return np.asarray(np.minimum(self._vol - implied, shown), dtype=np.float64)

    def _drift_frac(self, bond: FloatArray, ratio: FloatArray) -> FloatArray:
        """Return what a fair hedged bond gains in price, per year and USD of it: what it costs to carry.

        The bond grows at the rate less its coupon, the stock that is sold at the rate less dividends and fee.
        """
        rate_frac, bonds = self._options.rate_frac, self._bonds
        coupon = np.array([one.coupon_frac * one.quote_face_usd for one in bonds])
        stock_frac = rate_frac - np.array([one.dividend_frac + one.borrow_frac for one in bonds])
        return np.asarray(rate_frac - coupon / bond - ratio * stock_frac, dtype=np.float64)

    def state(self) -> State:
        """Return sides and hedges, the last prices and what they say, and the closes of the window."""
        return {
            "closes": self._closes.copy(),
            "today": self._today.copy(),
            "session": self._session,
            "prices": self._prices.copy(),
            "is_seen": self._is_seen.copy(),
            "values": self._values.copy(),
            "side": self._side.copy(),
            "hedged": self._hedged.copy(),
        }

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._closes = state["closes"].copy()
        self._today = np.full_like(self._today, np.nan)
        self._begin(int(state["session"]))
        self._today = state["today"].copy()
        self._prices = state["prices"].copy()
        self._is_seen = state["is_seen"].copy()
        self._values = state["values"].copy()
        self._side = state["side"].copy()
        self._hedged = state["hedged"].copy()

    @property
    def _days(self) -> FloatArray:
        """Calendar days to the maturities."""
        return (self._maturity_day - self._session).astype(np.float64)

    def _begin(self, session: int) -> None:
        """Take the closes of the session that ended into the window, and set the models to a new day."""
        is_new = np.isfinite(self._today)
        pushed = np.concatenate([self._closes[:, 1:], self._today[:, np.newaxis]], axis=1)
        self._closes = np.where(is_new[:, np.newaxis], pushed, self._closes)
        self._today = np.full_like(self._today, np.nan)
        self._session = session
        realised = realised_vol_frac(self._closes, self._sessions_per_year)
        given = [np.nan if bond.vol_frac is None else bond.vol_frac for bond in self._bonds]
        self._vol = np.where(np.isnan(given), realised, given)
        self._values = np.full_like(self._values, np.nan)
        options = self._options
        self._models = [
            BondModel(bond, options.rate_frac, options.steps, session)
            if session >= 0 and left > 0.0
            else None
            for bond, left in zip(self._bonds, self._days.tolist(), strict=True)
        ]

    def _value(self, k: int) -> None:
        """Write what the prices of bond ``k`` say; NaN where its model has no answer."""
        model, fair_vol = self._models[k], self._vol.item(k)
        if model is None:
            return
        clean, stock = self._prices[:, k].tolist()
        implied = model.implied_vol(clean, stock)
        self._values[_IMPLIED, k] = implied
        self._values[_DELTA, k] = model.delta(stock, implied)
        self._values[_FAIR, k] = model.price(stock, fair_vol) if np.isfinite(fair_vol) else np.nan

    def _decide(self, slice_: BarSlice, k: int) -> list[Signal | SpreadNoted]:
        """Move the side or the hedge of bond ``k``; nothing while a number that it takes is unknown."""
        options = self._options
        implied, delta, _ = self._values[:, k].tolist()
        cheap = self._cheap_frac.item(k)
        is_leaving_time = bool(self._days[k] <= options.leave_days)
        if self._side[k] == 0.0:
            is_cheap = cheap > options.entry_vol_frac and VOL_MIN_FRAC < implied < VOL_MAX_FRAC
            if not is_cheap or is_leaving_time or not np.isfinite(delta):
                return []
            self._side[k], self._hedged[k] = 1.0, delta
            return self._said(slice_, k, "cheap")
        if is_leaving_time or cheap <= options.exit_vol_frac:
            self._side[k], self._hedged[k] = 0.0, np.nan
            return self._said(slice_, k, "maturing" if is_leaving_time else "repriced")
        if abs(delta - self._hedged[k]) > options.delta_band * self._bonds[k].shares_per_quote:
            self._hedged[k] = delta
            return self._said(slice_, k, "hedged")
        return []

    def _said(self, slice_: BarSlice, k: int, why: str) -> list[Signal | SpreadNoted]:
        """Return the signal of bond ``k`` as it is now, and the figures behind it."""
        outlook, bond = self.outlook(), self._bonds[k]
        implied, delta, fair = self._values[:, k].tolist()
        clean, stock = self._prices[:, k].tolist()
        model = self._models[k]
        figures = {
            "implied_vol_frac": implied,
            "fair_vol_frac": self._vol.item(k),
            "price": clean,
            "fair_price": fair,
            "parity": bond.parity(stock),
            "delta_frac": delta / bond.shares_per_quote,
            "gamma": np.nan if model is None else model.gamma(stock, implied),
            "usd_ratio": outlook.usd_ratio.item(k),
        }
        signal = Signal(
            slice_.ts_close_ns,
            self.name,
            self.spreads[k].name,
            SIDES[int(self._side[k])],
            float(np.nan_to_num(outlook.z.item(k))),  # past its maturity a bond has no figures
            float(np.nan_to_num(delta)),
            outlook.expected_return_frac.item(k),
        )
        return [signal, SpreadNoted(slice_.ts_close_ns, self.name, self.spreads[k].name, why, figures)]


def realised_vol_frac(closes: FloatArray, sessions_per_year: int) -> FloatArray:
    """Return the root mean square of log returns, a year: what gamma earns counts the mean in.

    Parameters
    ----------
    closes : FloatArray, shape (n, window + 1)
        Oldest first; NaN while a window is not full.
    sessions_per_year : int

    Returns
    -------
    FloatArray, shape (n,)
        NaN for a window that is not full.
    """
    returns = np.diff(np.log(closes), axis=1)
    return np.asarray(np.sqrt(sessions_per_year * (returns**2).mean(axis=1)), dtype=np.float64)


def _closes_before(options: ConvertibleOptions, context: StrategyContext) -> FloatArray:
    """Return the last closes of every stock before the tape, shape (n, window + 1); NaN where unknown."""
    size = options.vol_window_sessions + 1
    closes = np.full((len(options.bonds), size), np.nan)
    history = context.history
    for k, bond in enumerate(options.bonds):
        if history is not None and bond.stock in history.symbols:
            known = history.close_usd[:, history.symbols.index(bond.stock)]
            known = known[np.isfinite(known)][-size:]
            closes[k, size - known.size :] = known
    return closes


def _require_one_currency(options: ConvertibleOptions, context: StrategyContext) -> None:
    """Refuse a bond in another currency than its stock: parity would be one price times another's rate."""
    currency = {instrument.symbol: instrument.currency for instrument in context.instruments}
    for bond in options.bonds:
        if currency.get(bond.symbol) != currency.get(bond.stock):
            raise ConfigError(
                "C235",
                f"{bond.name!r} is quoted in {currency.get(bond.symbol)} and {currency.get(bond.stock)}",
                f"strategy {context.name!r}, key bonds",
                "The conversion value is counted in the stock's currency, and must be in the bond's.",
            )
