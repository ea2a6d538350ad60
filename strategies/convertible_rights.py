"""Rights in a convertible bond to end it early: the company's to call it, the holder's to put it.

A tree knows them as a most and a least that the bond is worth at its nodes, in cash for 100 of face with its
interest:

    call in force:   V <= max(price + accrued, 100 trigger, parity)
    put on its day:  V >= price + accrued

A company calls what is worth more than what it would pay, and the holder may still convert. With a trigger it
may call only where parity is above 100 trigger. It does so at once, so that the bond is worth its parity from
there on, and nowhere below more than parity at the trigger. That is what the most says; a test of each node
would make steps in the stock price, and a hedge would follow them. docs/maths/convertible.md.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field

_DAYS_PER_YEAR = 365.0


class Call(BaseModel):
    """The company may redeem from a day on, until the next of its calls or the maturity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    date: dt.date = Field(description="First day on which it may.")
    price: float = Field(gt=0.0, le=1_000.0, description="Clean, for 100 of face.")
    trigger_frac: float | None = Field(
        None,
        ge=1.0,
        le=10.0,
        description="Only where the stock is above so many conversion prices (1.3); absent: always.",
    )


class Put(BaseModel):
    """The holder may give the bond back on one day."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    date: dt.date = Field(description="The day.")
    price: float = Field(gt=0.0, le=1_000.0, description="Clean, for 100 of face.")


class Nodes:
    """The times of a tree, in days from today, and what is paid meanwhile.

    Parameters
    ----------
    days : int
        To the maturity.
    steps : int
        Of the tree.
    coupon : float
        Paid on each of ``coupon_days``, for 100 of face.
    coupon_days : sequence of int
        Days from today, ascending.
    accrued : callable
        Interest for 100 of face on a day.
    """

    def __init__(
        self,
        days: int,
        steps: int,
        coupon: float,
        coupon_days: Sequence[int],
        accrued: Callable[[int], float],
    ) -> None:
        self._days = days
        self._steps = steps
        self._coupon = coupon
        self._coupon_days = coupon_days
        self._accrued = accrued

    def after_today(self) -> list[int]:
        """Return the days of all nodes but today's."""
        return sorted({self._day(node) for node in range(1, self._steps + 1)})

    def nearest(self, day: int) -> int:
        """Return the day of the node nearest to one, but today's: what is exercised needs notice."""
        return self._day(max(1, self._node(day)))

    def interest(self, day: int, at: int) -> float:
        """Return what is paid beside a clean price on ``day``, by way of the node of the day ``at``.

        The tree pays a coupon at the node nearest to it, whoever holds the bond then: one that is due later
        is taken off, since the accrued interest has it already.
        """
        node = self._node(at)
        early = sum(1 for due in self._coupon_days if due > day and self._node(due) <= node)
        return self._accrued(day) - self._coupon * early

    def _day(self, node: int) -> int:
        return max(1, round(node * self._days / self._steps))

    def _node(self, day: int) -> int:
        return math.ceil(day * self._steps / self._days - 0.5)


def most(calls: Sequence[Call], today: dt.date, nodes: Nodes) -> list[tuple[int, float]]:
    """Return what the bond is worth at the most where it may be called: days from today, cash for 100.

    Parameters
    ----------
    calls : sequence of Call
        Ascending by date.
    today : datetime.date
    nodes : Nodes
    """
    found = []
    for day in nodes.after_today():
        when = today + dt.timedelta(days=day)
        in_force = [call for call in calls if call.date <= when]
        if in_force:
            call = in_force[-1]
            cash = call.price + nodes.interest(day, day)
            found.append((day, max(cash, 100.0 * (call.trigger_frac or 0.0))))
    return found


def least(puts: Sequence[Put], today: dt.date, nodes: Nodes, yield_frac: float) -> list[tuple[int, float]]:
    """Return what the bond is worth at the least where it may be put: days from today, cash for 100.

    A put between two nodes is paid at the nearest, with the yield of the days between, so that its value does
    not depend on where the nodes are.

    Parameters
    ----------
    puts : sequence of Put
        Those of today and before are over.
    today : datetime.date
    nodes : Nodes
    yield_frac : float
        Of the debt, continuous, actual/365.
    """
    found = []
    for put in puts:
        day = (put.date - today).days
        if day > 0:
            at = nodes.nearest(day)
            cash = put.price + nodes.interest(day, at)
            found.append((at, cash * math.exp(yield_frac * (at - day) / _DAYS_PER_YEAR)))
    return found


def require_order(name: str, rights: Sequence[Call | Put], maturity: dt.date) -> None:
    """Refuse days that are not ascending, or not before the maturity.

    Raises
    ------
    ValueError
    """
    days = [right.date for right in rights]
    for before, after in pairwise(days):
        if before >= after:
            raise ValueError(f"{name} must be in ascending order of date, was {before} before {after}")
    if days and days[-1] >= maturity:
        raise ValueError(f"{name} must be before the maturity ({maturity}), was {days[-1]}")
