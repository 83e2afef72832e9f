"""What a trial tries: drawn by Optuna's tree-structured Parzen estimator, the same for the same seed, number and earlier results."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from visionyard.training.tuning.space import Parameter

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_DRAWN_AT_RANDOM = 10
"""How many results there must be before they are learnt from (Optuna's own default)."""

Past = Sequence[tuple[Mapping[str, Any], float]]
"""Arguments that were tried, with the metric that came of them; the higher the better."""


def suggest(space: Sequence[Parameter], seed: int, number: int, past: Past) -> dict[str, Any]:
    """The arguments for a trial. Blocks, some tenths of a second at the first call.

    Args:
        space: What to choose from.
        seed: The search's.
        number: The trial's number, from 1.
        past: Earlier results.

    Returns:
        A value for each parameter, by name.
    """
    # Imported at the first search: it takes time and memory that a service without any need not spend.
    import optuna  # noqa: PLC0415 - see above
    from optuna.trial import create_trial  # noqa: PLC0415 - see above

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    domain = {parameter.name: _distribution(parameter) for parameter in space}
    sampler = optuna.samplers.TPESampler(seed=_seed(seed, number), n_startup_trials=_DRAWN_AT_RANDOM)
    study = optuna.create_study(direction="maximize", sampler=sampler)  # in memory: what counts is in the bucket
    study.add_trials([create_trial(params=_inner(space, tried), distributions=domain, value=value) for tried, value in past])
    drawn = study.ask(domain).params
    return {parameter.name: parameter.choices[drawn[parameter.name]] if parameter.choices else drawn[parameter.name] for parameter in space}


def _seed(seed: int, number: int) -> int:
    """A seed of 32 bits for each trial, so that no trial repeats another."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4])


def _distribution(parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import (  # noqa: PLC0415 - see :func:`suggest`
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if parameter.choices:
        return CategoricalDistribution(list(range(len(parameter.choices))))  # their positions, as values may be lists
    if parameter.whole:
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _inner(space: Sequence[Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as the distributions have them."""
    return {p.name: p.choices.index(values[p.name]) if p.choices else values[p.name] for p in space}
