"""What a search may still begin: by its budget, and by what its trials have taken an epoch so far."""

from __future__ import annotations

import math
from datetime import datetime

from visionyard.training.tuning.search import Search


def room_for(search: Search, epochs: int, now: datetime) -> int:
    """How many more trainings of so many epochs its budget has room for, beside what those that are open have still to go.

    Before an epoch has ended nobody knows what one takes: then there is room for any number.

    Args:
        search: The search.
        epochs: How many epochs each would train.
        now: By the store's clock.
    """
    spec = search.spec
    seconds = _epoch_s(search, now)
    if not spec.budget or spec.price is None or not spec.price.hourly or not seconds:
        return len(search.trials) + spec.trials
    to_go = sum(max(spec.rungs[trial.rung].epochs - trial.epoch, 0) for trial in search.trials if trial.state.open)
    left = spec.budget - search.cost(now) - spec.price.cost(seconds * to_go)
    return max(math.floor(left / spec.price.cost(seconds * epochs)), 0)


def _epoch_s(search: Search, now: datetime) -> float:
    """What an epoch of its trials takes on average, their starts included, in seconds; 0 before one has ended."""
    trained = [trial for trial in search.trials if trial.epoch]
    epochs = sum(trial.epoch for trial in trained)
    return sum(trial.trained_seconds(now) for trial in trained) / epochs if epochs else 0.0


def overspent(search: Search, now: datetime) -> bool:
    """Whether its budget is used up."""
    return bool(search.spec.budget) and search.cost(now) >= search.spec.budget


def told(search: Search, now: datetime) -> str:
    """What was spent of what, for people."""
    currency = search.spec.price.currency if search.spec.price else ""
    return f"its trials have cost {search.cost(now):.2f} {currency}, and the budget is {search.spec.budget:.2f} {currency}"
