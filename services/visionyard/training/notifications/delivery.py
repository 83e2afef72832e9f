"""How far an event's messages are: the part ``deliveries`` of its document, an entry a channel that has still to be told.

::

    {"ops": {"tries": 1, "since": "2026-...", "next": "2026-...", "claim": "", "until": ""}}

A service claims an entry by a swap before it sends, so that two services do not send the same; a claim whose owner died runs out. All times are the store's clock's, ISO 8601.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from visionyard.training.notifications.answers import Outcome

GIVE_UP = timedelta(hours=1)
"""A message that could not be delivered for so long is given up."""
_CLAIM = timedelta(seconds=90)
"""Longer than any try takes, its look-up of the host included."""
_FIRST_WAIT_S = 5.0
_LONGEST_WAIT_S = 900.0
_JITTER = 0.25


@dataclass(frozen=True)
class Delivery:
    """A message on its way to a channel.

    Attributes:
        tries: How often it has failed.
        since: When it was first due.
        next: When it is due.
        claim: Whose try is under way; empty for nobody's.
        until: When that claim runs out; None without one.
    """

    tries: int
    since: datetime
    next: datetime
    claim: str = ""
    until: datetime | None = None

    def due(self, now: datetime) -> bool:
        """Whether somebody should try now."""
        return now >= self.next and not self.claimed_at(now)

    def claimed_at(self, now: datetime) -> bool:
        """Whether a try is under way."""
        return self.until is not None and now < self.until

    def claimed(self, claim: str, now: datetime) -> Delivery:
        """With a try under way."""
        return replace(self, claim=claim, until=now + _CLAIM)

    def failed(self, outcome: Outcome, now: datetime) -> Delivery | None:
        """After a try that failed; None where there will be no other."""
        wait = timedelta(seconds=max(backoff_s(self.tries + 1), outcome.wait_s))
        if outcome.permanent or now + wait > self.since + GIVE_UP:
            return None
        return Delivery(self.tries + 1, self.since, now + wait)


def backoff_s(tries: int) -> float:
    """Seconds to wait after so many failures: doubled from 5 up to 900, a quarter more or less by chance, so that what failed together does not return together."""
    return min(_FIRST_WAIT_S * 2.0 ** (tries - 1), _LONGEST_WAIT_S) * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret


def planned(channels: Iterable[str], now: datetime) -> dict[str, Any]:
    """The entries of channels that are to be told now."""
    return to_json({channel: Delivery(0, now, now) for channel in channels})


def to_json(deliveries: Mapping[str, Delivery]) -> dict[str, Any]:
    """The form in which the document keeps them."""
    return {
        channel: {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(delivery).items()}
        for channel, delivery in deliveries.items()
    }


def from_json(body: Mapping[str, Any]) -> dict[str, Delivery]:
    """Reads what :func:`to_json` wrote."""
    return {channel: _delivery(entry) for channel, entry in body.items()}


def _delivery(entry: Mapping[str, Any]) -> Delivery:
    until = datetime.fromisoformat(entry["until"]) if entry["until"] else None
    return Delivery(
        entry["tries"], datetime.fromisoformat(entry["since"]), datetime.fromisoformat(entry["next"]), claim=entry["claim"], until=until
    )
