"""State dicts that are not what they are said to be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import get_model

from visionyard.kit.errors import Reason, YardError
from visionyard.training.worker.conversion import convert_state_dict

Tensors = dict[str, torch.Tensor]


def _without(tensors: Tensors, *keys: str) -> Tensors:
    return {key: value for key, value in tensors.items() if key not in keys}


_BAD: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "missing": (lambda t: _without(t, "conv1.weight", "fc.bias"), "it lacks conv1.weight, fc.bias"),
    "besides": (lambda t: t | {f"x{index}": torch.ones(1) for index in range(9)}, "it has besides x0, x1, x2 and 6 more"),
    "shape": (lambda t: t | {"bn1.weight": torch.ones(65)}, "bn1.weight is 65 in it and 64 in the network"),
    "number": (lambda t: t | {"bn1.weight": torch.tensor(1.0)}, "bn1.weight is a single number"),
    "whole": (lambda t: t | {"bn1.weight": torch.ones(64, dtype=torch.int64)}, "bn1.weight holds other than plain numbers"),
    "nan": (lambda t: t | {"bn1.bias": torch.full((64,), torch.nan)}, "NaN"),
    "too large": (lambda t: t | {"bn1.bias": torch.full((64,), 1e300, dtype=torch.float64)}, "infinite"),
    "nested": (lambda t: {"state_dict": t, "epoch": 3}, "more than a state dict"),
    "list": (lambda t: list(t.values()), "more than a state dict"),
    "one": (lambda t: t["conv1.weight"], "more than a state dict"),
}


@pytest.mark.parametrize("name", _BAD)
def test_a_bad_state_dict_is_refused_and_says_what_is_wrong(tmp_path: Path, name: str) -> None:
    change, told = _BAD[name]
    torch.save(change(get_model("resnet18", weights=None).state_dict()), tmp_path / "w.pth")
    with pytest.raises(YardError) as refused:
        convert_state_dict(tmp_path / "w.pth", "w.pth", "resnet18", tmp_path / "made.pt")
    assert refused.value.reason is Reason.WEIGHTS_UNREADABLE
    assert told in refused.value.message
    assert refused.value.message.startswith("w.pth ")
    assert not (tmp_path / "made.pt").exists()
