"""Ultralytics' own choice of an optimizer, and the arguments that it passes over: what somebody sets, or searches, must have an effect.

With ``optimizer=auto``, the default, ``ultralytics/engine/trainer.py: build_optimizer`` (8.4) takes AdamW, or MuSGD above 10,000 steps, with a rate by the
number of classes, and says so in the log alone. A search over ``lr0`` then tries the same training again and again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visionyard.kit.errors import Reason, YardError
from visionyard.training.arguments import ArgumentTable

_PASSED_OVER = ("lr0", "warmup_bias_lr")
_AUTO = "auto"


def check_optimizer(given: Mapping[str, Any], table: ArgumentTable, choices: Sequence[Any] = ()) -> None:
    """Refuses arguments that the choice of the optimizer would pass over. Ultralytics' defaults are no such arguments: nobody wants a change by them.

    Args:
        given: The arguments that are given.
        table: What the installed Ultralytics says.
        choices: The optimizers that a search tries; empty where none are tried.

    Raises:
        YardError: INVALID_ARGUMENT_VALUE.
    """
    if _AUTO not in (choices or (given.get("optimizer", table.defaults["optimizer"]),)):
        return
    for name in _PASSED_OVER:
        if name in given and given[name] != table.defaults[name]:
            instead = "leave auto out of its choices" if choices else "name an optimizer too, such as optimizer=AdamW"
            raise YardError(
                Reason.INVALID_ARGUMENT_VALUE,
                f"{name} would have no effect: with optimizer=auto{'' if choices else ', the default,'} Ultralytics {table.version} chooses it by itself;"
                f" {instead}, or leave {name} out",
                {"argument": name},
            )
