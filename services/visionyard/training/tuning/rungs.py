"""The rungs of successive halving: of many trials that train shortly, the best are trained on, longer each time.

Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization" (https://arxiv.org/abs/1502.07943), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rung:
    """A rung.

    Attributes:
        trials: How many trials train so far.
        epochs: How many epochs each has then, in all.
    """

    trials: int
    epochs: int


def plan(trials: int, epochs: int, eta: int, min_epochs: int) -> tuple[Rung, ...]:
    """The rungs of a search, the first one first; the last has ``epochs``.

    Each rung takes the best of the one before it, one of ``eta``, to ``eta`` times as many epochs, until one trial is left or the first rung would be shorter than
    ``min_epochs``.

    Args:
        trials: How many begin; 1 or more.
        epochs: How many the last rung has; ``min_epochs`` or more.
        eta: 2 or more.
        min_epochs: How many the first rung has at least; 1 or more.
    """
    climbs = 0
    while eta ** (climbs + 1) <= trials and epochs / eta ** (climbs + 1) >= min_epochs:
        climbs += 1
    return tuple(Rung(max(1, trials // eta**rung), max(min_epochs, round(epochs / eta ** (climbs - rung)))) for rung in range(climbs + 1))
