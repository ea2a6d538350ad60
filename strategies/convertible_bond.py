"""A convertible bond and its price: a binomial tree in which only the debt bears the credit spread.

The tree is QuantLib's, of Leisen and Reimer, with Tsiveriotis and Fernandes's split of every node into a part
that is paid in shares (discounted at the rate) and one that is paid in cash (at the rate plus the credit
spread).
docs/maths/convertible.md.
"""

from __future__ import annotations

import datetime as dt
import math
from importlib import import_module
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.errors import ConfigError
from strategies import convertible_rights as rights

#: Volatilities between which an implied one is looked for. Below the first the debt's spread outweighs what
#: volatility adds, so that a price may have two of them.
VOL_MIN_FRAC: Final = 0.10
VOL_MAX_FRAC: Final = 3.00
#: A hundredth of a volatility point.
_VOL_TOLERANCE: Final = 1e-4
#: Of the stock price, for the differences that delta and gamma are: the least and the most.
_BUMP_FRAC: Final = 0.01
_BUMP_MAX_FRAC: Final = 0.5
_DAYS_PER_YEAR: Final = 365.0


class ConvertibleTerms(BaseModel):
    """One convertible bond. Its quote is clean: without the interest accrued since the last coupon."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    symbol: str = Field(min_length=1, description="Of the bond.")
    stock: str = Field(min_length=1, description="What it converts into.")
    conversion_ratio: float = Field(gt=0.0, description="Shares for one bond of face_usd.")
    maturity: dt.date = Field(description="Day on which the face is paid.")
    coupon_frac: float = Field(0.0, ge=0.0, le=1.0, description="Interest of a year, of the face.")
    coupons_per_year: Literal[1, 2, 4] = Field(2, description="Payments a year.")
    face_usd: float = Field(1_000.0, gt=0.0, description="Face of one bond.")
    quote_face_usd: float = Field(
        100.0, gt=0.0, description="Face that the quote is for: 100 for percent, face_usd for dollars a bond."
    )
    credit_spread_frac: float = Field(
        0.0, ge=0.0, le=1.0, description="What the debt yields above the rate, a year."
    )
    borrow_frac: float = Field(0.0, ge=0.0, le=2.0, description="Fee for the borrowed stock, a year.")
    dividend_frac: float = Field(
        0.0, ge=0.0, le=1.0, description="Dividends of the stock, a year, as a yield."
    )
    vol_frac: float | None = Field(
        None,
        ge=VOL_MIN_FRAC,
        le=VOL_MAX_FRAC,
        description="Volatility it is worth; absent: the realised one.",
    )
    calls: tuple[rights.Call, ...] = Field((), description="When the company may redeem it, by date.")
    puts: tuple[rights.Put, ...] = Field((), description="When the holder may give it back, by date.")

    @property
    def name(self) -> str:
        """Of its spread: bond over stock."""
        return f"{self.symbol}/{self.stock}"

    @property
    def shares_per_quote(self) -> float:
        """Shares that what is quoted converts into."""
        return self.conversion_ratio * self.quote_face_usd / self.face_usd

    @property
    def conversion_price_usd(self) -> float:
        """Stock price at which converting gives the face."""
        return self.face_usd / self.conversion_ratio

    def parity(self, stock_usd: float) -> float:
        """Return what converting gives, in units of the quote."""
        return self.shares_per_quote * stock_usd

    @model_validator(mode="after")
    def _is_a_pair(self) -> Self:
        if self.symbol == self.stock:
            raise ValueError(f"stock must differ from symbol, was {self.stock!r} for both")
        rights.require_order("calls", self.calls, self.maturity)
        rights.require_order("puts", self.puts, self.maturity)
        return self


class BondModel:
    """The bond on one day, as a function of stock price and volatility.

    Parameters
    ----------
    terms : ConvertibleTerms
    rate_frac : float
        Riskless rate a year, continuous, as are spread, fee and dividends.
    steps : int
        Of the tree; odd.
    day : int
        Since 1970-01-01; before the maturity.

    Raises
    ------
    ConfigError
        C234 if QuantLib is not installed.

    References
    ----------
    Tsiveriotis and Fernandes (1998), "Valuing convertible bonds with credit risk", *Journal of Fixed Income*
    8(2); Leisen and Reimer (1996), "Binomial models for option valuation", *Applied Mathematical Finance*
    3(4).
    """

    def __init__(self, terms: ConvertibleTerms, rate_frac: float, steps: int, day: int) -> None:
        self._ql = ql = quantlib()
        self._terms = terms
        self._date = dt.date(1970, 1, 1) + dt.timedelta(days=day)
        self._today = _date(ql, self._date)
        self._stock, self._vol = ql.SimpleQuote(1.0), ql.SimpleQuote(VOL_MIN_FRAC)
        self._root_dt = math.sqrt((terms.maturity - self._date).days / _DAYS_PER_YEAR / steps)
        self._settle()
        self._bond = self._build(rate_frac, steps)
        self.accrued: float = self._bond.accruedAmount() * self._scale

    @property
    def _scale(self) -> float:
        return self._terms.quote_face_usd / 100.0

    def price(self, stock_usd: float, vol_frac: float) -> float:
        """Return the clean price, in units of the quote; NaN if no tree can be built.

        Of a bond with calls or puts it is the mean of the tree's prices a quarter of a node's distance to
        both sides: the tree's error swings with the place of its nodes, once in each distance.
        """
        step = 0.25 * self._node_frac(vol_frac) * stock_usd
        if step == 0.0:
            return self._clean(stock_usd, vol_frac)
        return 0.5 * (self._clean(stock_usd + step, vol_frac) + self._clean(stock_usd - step, vol_frac))

    def delta(self, stock_usd: float, vol_frac: float) -> float:
        """Return dP/dS in units of the quote: central, over 1% of the stock price to both sides.

        Of a bond with calls or puts over the distance of two nodes, so that the tree's error cancels out.
        """
        step = self._bump_frac(vol_frac) * stock_usd
        up, down = (self._clean(stock_usd + sign * step, vol_frac) for sign in (1.0, -1.0))
        return (up - down) / (2.0 * step)

    def gamma(self, stock_usd: float, vol_frac: float) -> float:
        """Return d2P/dS2 in units of the quote, over the same step as ``delta``."""
        step = self._bump_frac(vol_frac) * stock_usd
        up, here, down = (self._clean(stock_usd + sign * step, vol_frac) for sign in (1.0, 0.0, -1.0))
        return (up - 2.0 * here + down) / step**2

    def _clean(self, stock_usd: float, vol_frac: float) -> float:
        """Return the clean price of the tree itself, in units of the quote; NaN if none can be built."""
        self._settle()
        self._stock.setValue(stock_usd)
        self._vol.setValue(vol_frac)
        try:
            npv: float = self._bond.NPV()
        except RuntimeError:  # the one exception that QuantLib has: a probability outside [0, 1] here
            return math.nan
        return npv * self._scale - self.accrued

    def _node_frac(self, vol_frac: float) -> float:
        """Distance of two nodes, of the stock price: sigma sqrt(dt); 0 for a bond without kinks."""
        terms = self._terms
        return min(vol_frac * self._root_dt, _BUMP_MAX_FRAC) if terms.calls or terms.puts else 0.0

    def _bump_frac(self, vol_frac: float) -> float:
        return max(_BUMP_FRAC, self._node_frac(vol_frac))

    def implied_vol(self, clean: float, stock_usd: float) -> float:
        """Return the volatility at which the model has this price.

        Beyond the bounds it is the bound; NaN if no tree can be built.
        """
        from scipy.optimize import brentq

        def excess(vol_frac: float) -> float:
            return self.price(stock_usd, vol_frac) - clean

        lowest, highest = excess(VOL_MIN_FRAC), excess(VOL_MAX_FRAC)
        if math.isnan(lowest) or math.isnan(highest):
            return math.nan
        if lowest >= 0.0 or highest <= 0.0:
            return VOL_MIN_FRAC if lowest >= 0.0 else VOL_MAX_FRAC
        return float(brentq(excess, VOL_MIN_FRAC, VOL_MAX_FRAC, xtol=_VOL_TOLERANCE))

    def _settle(self) -> None:
        """Set the day: QuantLib has one for the whole process."""
        settings = self._ql.Settings.instance()
        if settings.evaluationDate != self._today:
            settings.evaluationDate = self._today

    def _build(self, rate_frac: float, steps: int) -> Any:
        """Return the instrument with its tree, per 100 of face."""
        ql, terms, today = self._ql, self._terms, self._today
        year = ql.Actual365Fixed()

        def flat(rate: float) -> Any:
            return ql.YieldTermStructureHandle(ql.FlatForward(today, rate, year))

        process = ql.BlackScholesMertonProcess(
            ql.QuoteHandle(self._stock),
            flat(terms.dividend_frac + terms.borrow_frac),
            flat(rate_frac),
            ql.BlackVolTermStructureHandle(
                ql.BlackConstantVol(today, ql.NullCalendar(), ql.QuoteHandle(self._vol), year)
            ),
        )
        schedule = self._schedule(_date(ql, terms.maturity))
        bond = self._instrument(schedule, ql.CallabilitySchedule())
        if terms.calls or terms.puts:
            bond = self._instrument(schedule, self._rights(bond, schedule, rate_frac, steps))
        spread = ql.QuoteHandle(ql.SimpleQuote(terms.credit_spread_frac))
        bond.setPricingEngine(ql.BinomialConvertibleEngine(process, "lr", steps, spread))
        return bond

    def _instrument(self, schedule: Any, callable_when: Any) -> Any:
        """Return the bond, per 100 of face, with its rights to end early."""
        ql, terms = self._ql, self._terms
        return ql.ConvertibleFixedCouponBond(
            ql.AmericanExercise(self._today, schedule.endDate()),
            100.0 / terms.face_usd * terms.conversion_ratio,
            callable_when,
            schedule[0],
            0,
            [terms.coupon_frac],
            ql.ActualActual(ql.ActualActual.ISMA, schedule),
            schedule,
            100.0,
        )

    def _rights(self, bond: Any, schedule: Any, rate_frac: float, steps: int) -> Any:
        """Return calls and then puts: where both are exercised, the holder is paid."""
        ql, terms, today = self._ql, self._terms, self._today
        coupon = 100.0 * terms.coupon_frac / terms.coupons_per_year
        nodes = rights.Nodes(
            schedule.endDate() - today,
            steps,
            coupon,
            [date - today for date in schedule if date > today],
            lambda day: bond.accruedAmount(today + day),
        )
        found = ql.CallabilitySchedule()
        most = rights.most(terms.calls, self._date, nodes)
        least = rights.least(terms.puts, self._date, nodes, rate_frac + terms.credit_spread_frac)
        for kind, limits in ((ql.Callability.Call, most), (ql.Callability.Put, least)):
            for day, cash in limits:
                price = ql.BondPrice(cash, ql.BondPrice.Dirty)
                found.append(ql.Callability(price, kind, today + day))
        return found

    def _schedule(self, maturity: Any) -> Any:
        """Return the coupon dates from the last one on or before today, counted back from the maturity.

        Of a bond that ends with a month, every coupon is due at the end of one.
        """
        ql = self._ql
        months = 12 // self._terms.coupons_per_year
        periods = 1
        while maturity - ql.Period(months * periods, ql.Months) > self._today:
            periods += 1
        first = maturity - ql.Period(months * periods, ql.Months)
        return ql.Schedule(
            first,
            maturity,
            ql.Period(months, ql.Months),
            ql.NullCalendar(),
            ql.Unadjusted,
            ql.Unadjusted,
            ql.DateGeneration.Backward,
            ql.Date.isEndOfMonth(maturity),
        )


def quantlib() -> Any:
    """Import QuantLib, which only convertible bonds need.

    Raises
    ------
    ConfigError
        C234 if it is not installed.
    """
    try:
        return import_module("QuantLib")
    except ImportError as error:
        raise ConfigError(
            "C234",
            'kind = "convertible" needs the package "QuantLib", which is not installed',
            "strategy.kind",
            "It is an extra, so that nobody else has to install it:\n"
            '    pip install "astra-quant[convertible]"',
        ) from error


def _date(ql: Any, date: dt.date) -> Any:
    return ql.Date(date.day, date.month, date.year)
