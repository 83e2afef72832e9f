"""How long a training may train and what it may cost, and what it has spent of both over all its attempts."""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.training.estimates.price import PRICE_SETTINGS, Price

_LEAST_S, _MOST_S = 1.0, 10 * 366 * 86_400.0
_MOST_BUDGET = 1e9


class EarlyStop(enum.Enum):
    """Why a training ended before its last epoch, though well; the names are those of ``visionyard.training.v1.EarlyStop``."""

    TIME_LIMIT = "TIME_LIMIT"
    BUDGET = "BUDGET"
    NO_IMPROVEMENT = "NO_IMPROVEMENT"


def check_limits(time_limit_s: float, budget: float, price: Price | None, field: str = "training_job.scheduling.budget") -> None:
    """Checks what a request asks for.

    Args:
        time_limit_s: How long it may train, in seconds; 0 for no limit.
        budget: What it may cost; 0 for no limit.
        price: What the machine costs; None where nobody has said so.
        field: The request's field that the budget was given in.

    Raises:
        YardError: INVALID_FIELD or PRICE_UNKNOWN.
    """
    if time_limit_s and not _LEAST_S <= time_limit_s <= _MOST_S:
        raise invalid_field("training_job.scheduling.time_limit", f"takes {_LEAST_S:.0f} s to {_MOST_S:.0f} s, not {time_limit_s:g} s")
    if budget and not 0 < budget <= _MOST_BUDGET:
        raise invalid_field(field, f"takes a number above 0, at most {_MOST_BUDGET:,.0f}, not {budget}")
    if budget and (price is None or not price.hourly):
        raise YardError(
            Reason.PRICE_UNKNOWN,
            f"a budget needs the machine's price, and this service was given none: set {PRICE_SETTINGS} of the training service, or give a time limit instead",
            {"setting": PRICE_SETTINGS},
        )


@dataclass(frozen=True)
class Spent:
    """What a training has taken.

    Attributes:
        seconds: How long its workers had it.
        amount: What that costs.
        currency: Of the amount; empty where the machines had no price.
    """

    seconds: float = 0.0
    amount: float = 0.0
    currency: str = ""

    def to_json(self) -> dict[str, Any]:
        """The form in which the job's pointers keep it."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | None) -> Spent:
        """Reads what :meth:`to_json` wrote; nothing where there is none."""
        return cls(**document) if document else cls()

    def and_then(self, later: Spent) -> Spent:
        """Both together, in the later one's currency where it has one."""
        return Spent(self.seconds + later.seconds, self.amount + later.amount, later.currency or self.currency)


def spent_in_all(pointers: Mapping[str, Any]) -> Spent:
    """What a training has taken since it was first queued; its limits count what it has taken since it was queued or resumed, ``pointers["spent"]``.

    Args:
        pointers: The job's.
    """
    return Spent.from_json(pointers.get("spent_before")).and_then(Spent.from_json(pointers.get("spent")))


class Allowance:
    """What a running attempt may still spend.

    Args:
        time_limit_s: See :func:`check_limits`.
        budget: Likewise.
        price: What this attempt's machine costs; None where that is not known, and then a budget does not limit it.
        before: What earlier attempts have spent.
        began: When this attempt began, by ``clock``.
        machines: How many machines train together; each costs ``price``.
        clock: Seconds; a test gives its own.
    """

    def __init__(
        self,
        time_limit_s: float,
        budget: float,
        price: Price | None,
        before: Spent,
        began: float,
        machines: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._time_limit_s = time_limit_s
        self._budget = budget
        self._price = price.times(machines) if price is not None else None
        self._before = before
        self._began = began
        self._clock = clock

    @property
    def spent(self) -> Spent:
        """What the training has taken by now."""
        seconds = max(self._clock() - self._began, 0.0)
        if self._price is None:
            return Spent(self._before.seconds + seconds, self._before.amount, self._before.currency)
        return Spent(self._before.seconds + seconds, self._before.amount + self._price.cost(seconds), self._price.currency)

    def left_s(self) -> float:
        """How long it may still train, in seconds; infinite without a limit, below 0 when it is over."""
        return min(self._left().values(), default=math.inf)

    def nearest(self) -> EarlyStop:
        """Which of the two limits comes first; call it only where there is one."""
        left = self._left()
        return min(left, key=lambda limit: left[limit])

    def over(self) -> YardError:
        """What to tell the user of a training whose limit was reached before anything of it could be kept."""
        if self.nearest() is EarlyStop.TIME_LIMIT:
            limit, option = f"time limit of {self._time_limit_s:g} s", "--time-limit"
        else:
            limit, option = f"budget of {self._budget:g} {self.spent.currency}", "--budget"
        return YardError(
            Reason.LIMIT_REACHED,
            f"the training's {limit} was reached before its first epoch had ended, so there is no model: give more ({option}), or train with fewer or smaller images",
            {"limit": limit},
        )

    def _left(self) -> dict[EarlyStop, float]:
        spent = self.spent
        left = {EarlyStop.TIME_LIMIT: self._time_limit_s - spent.seconds} if self._time_limit_s else {}
        if self._budget and self._price is not None and self._price.hourly:
            left[EarlyStop.BUDGET] = (self._budget - spent.amount) / self._price.hourly * 3600
        return left
