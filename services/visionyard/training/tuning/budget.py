"""What a search may still begin: by its budget, and by what its trials have taken an epoch so far, as their workers measured it."""

from __future__ import annotations

import math

from visionyard.training.tuning.search import Search


def room_for(search: Search, epochs: int) -> int:
    """How many more trainings of so many epochs its budget has room for, beside what those that are open have still to go.

    Before an epoch has ended nobody knows what one takes: then there is room for any number.

    Args:
        search: The search.
        epochs: How many epochs each would train.
    """
    spec = search.spec
    seconds = _epoch_s(search)
    price = spec.trial_price
    if not spec.budget or price is None or not price.hourly or not seconds:
        return len(search.trials) + spec.trials
    to_go = sum(max(spec.rungs[trial.rung].epochs - trial.epoch, 0) for trial in search.trials if trial.state.open)
    left = spec.budget - search.cost - price.cost(seconds * to_go)
    return max(math.floor(left / price.cost(seconds * epochs)), 0)


def _epoch_s(search: Search) -> float:
    """What an epoch of its trials takes on average, their starts included, in seconds; 0 before one has ended."""
    trained = [trial for trial in search.trials if trial.epoch and trial.measured_before_s + trial.measured_s]
    epochs = sum(trial.epoch for trial in trained)
    return sum(trial.measured_before_s + trial.measured_s for trial in trained) / epochs if epochs else 0.0


def overspent(search: Search) -> bool:
    """Whether its budget is used up."""
    return bool(search.spec.budget) and search.cost >= search.spec.budget


def told(search: Search) -> str:
    """What was spent of what, for people."""
    currency = search.spec.price.currency if search.spec.price else ""
    return f"its trials have cost {search.cost:.2f} {currency}, and the budget is {search.spec.budget:.2f} {currency}"
