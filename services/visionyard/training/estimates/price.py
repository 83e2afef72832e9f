"""What a machine costs its operator, by the hour or by the month."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visionyard.kit.errors import invalid_field

HOURS_A_MONTH = 730.5
"""365.25 days a year, by twelve."""
PRICE_SETTINGS = "VISIONYARD_PRICE_PER_HOUR or VISIONYARD_PRICE_PER_MONTH"
"""Where the operator says what the service's own machine costs."""
_MOST_PER_HOUR, _MOST_PER_MONTH = 1e6, 1e9
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True)
class Price:
    """A price; exactly one of the two rates is given.

    Attributes:
        currency: Three capital letters, ISO 4217.
        per_hour: For each hour that a training takes.
        per_month: For a month, used or not; a training is charged its share of the month's hours.
    """

    currency: str
    per_hour: float | None = None
    per_month: float | None = None

    def check(self, field: str) -> Price:
        """Returns itself.

        Args:
            field: What to call it in errors.

        Raises:
            YardError: INVALID_FIELD.
        """
        if not _CURRENCY.fullmatch(self.currency):
            raise invalid_field(f"{field}.currency", f"takes three capital letters, such as EUR, not {self.currency[:20]!r}")
        if (self.per_hour is None) == (self.per_month is None):
            raise invalid_field(f"{field}.rate", "takes a price an hour or a price a month, and exactly one of them")
        for name, value, most in (("per_hour", self.per_hour, _MOST_PER_HOUR), ("per_month", self.per_month, _MOST_PER_MONTH)):
            if value is not None and not 0 <= value <= most:  # false for NaN too
                raise invalid_field(f"{field}.{name}", f"takes 0 to {most:,.0f}, not {value}")
        return self

    @property
    def hourly(self) -> float:
        """What an hour of training costs."""
        return self.per_hour if self.per_hour is not None else (self.per_month or 0.0) / HOURS_A_MONTH

    def cost(self, seconds: float) -> float:
        """What so many seconds of training cost, in the currency."""
        return self.hourly * seconds / 3600

    def times(self, machines: int) -> Price:
        """The price of so many machines of this price."""
        return Price(
            self.currency,
            self.per_hour * machines if self.per_hour is not None else None,
            self.per_month * machines if self.per_month is not None else None,
        )

    def to_json(self) -> dict[str, Any]:
        """The form in which documents keep it."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | None) -> Price | None:
        """Reads what :meth:`to_json` wrote; None for none."""
        return cls(**document) if document else None
