"""Model YAMLs from users, checked before anything builds a model from them.

Ultralytics evaluates ``activation:`` as Python and looks module names up among its globals (``ultralytics/nn/tasks.py: parse_model``), and
a few digits more in a number ask for terabytes. So a YAML may hold plain numbers, words from a list and nothing else, and its size is estimated first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from visionyard.kit import plain_yaml
from visionyard.kit.errors import Reason, YardError
from visionyard.training import backbones
from visionyard.training.model_modules import ACTIVATIONS, HEADS, MODULES, OTHER_HEADS, SCALED_MODULES, TASK_OF_HEAD, WORDS

MAX_TEXT_BYTES = 1 << 20
"""The longest text that is read."""
_MAX_LAYERS = 300
_MAX_REPEATS = 64
_MAX_CHANNELS = 8192
_MAX_NUMBER = 65_536
_MAX_CLASSES = 100_000
_MAX_MULTIPLE = 8.0
_MAX_PARAMETERS = 1_500_000_000
_MAX_KERNEL = 31
_ROW_LENGTH = 4
_KPT_SHAPE_LENGTH = 2
_ACTIVATION = re.compile(r"(?:torch\.)?nn\.([A-Za-z0-9]+)\(((?:[a-z_]+=)?[-0-9.eE]+|(?:inplace=)?(?:True|False)|)\)")
_SCALE = re.compile(r"[a-z]")


def _invalid(field: str, what: str) -> YardError:
    return YardError(Reason.MODEL_YAML_INVALID, f"the model YAML is not usable: {field} {what}", {"file": "", "field": field[:100]})


def check_model_yaml(text: str) -> str:
    """Checks a model's YAML.

    Args:
        text: The YAML's text.

    Returns:
        The task that its head is for.

    Raises:
        YardError: MODEL_YAML_INVALID with the field at fault, or UNSUPPORTED_TASK where its head is of none of the tasks that can be trained.
    """
    document = parse_plain_yaml(text)
    check_model_document(document)
    return task_of_head(str(document["head"][-1][2]), "the model YAML")


def task_of_head(head: str, what: str) -> str:
    """The task of a model by its last module; ``what`` is the model's name for messages.

    Raises:
        YardError: UNSUPPORTED_TASK, none that can be trained.
    """
    if head not in TASK_OF_HEAD:
        raise YardError(
            Reason.UNSUPPORTED_TASK, f"{what} ends in {head}, and only models for {', '.join(HEADS)} can be trained", {"task": head}
        )
    return TASK_OF_HEAD[head]


def parse_plain_yaml(text: str) -> dict[str, Any]:
    """A YAML mapping without anchors, tags or depth, in bounded time and memory.

    Raises:
        YardError: MODEL_YAML_INVALID.
    """
    return plain_yaml.parse_plain_yaml(text, MAX_TEXT_BYTES, _invalid)


def check_model_document(document: Mapping[str, Any], *, from_weights: bool = False) -> None:
    """Checks an architecture, of whatever task.

    Args:
        document: The architecture.
        from_weights: Whether it stood inside a weight file, so that it may hold a network of torchvision (:mod:`.backbones`).

    Raises:
        YardError: MODEL_YAML_INVALID with the field at fault.
    """
    _check_number(document, "nc", 1, _MAX_CLASSES, whole=True)
    _check_number(document, "reg_max", 1, 64, whole=True)
    for field in ("ch", "channels"):
        _check_number(document, field, 1, 64, whole=True)
    for field in ("depth_multiple", "width_multiple"):
        _check_number(document, field, 0, _MAX_MULTIPLE)
    _check_activation(document.get("activation"))
    scales = _check_scales(document)
    if document.get("end2end") not in {None, True, False}:
        raise _invalid("end2end", "is neither true nor false")
    kpt_shape = document.get("kpt_shape", [1, 2])
    if not isinstance(kpt_shape, list | tuple) or len(kpt_shape) != _KPT_SHAPE_LENGTH or not all(_whole(v, 1, 1000) for v in kpt_shape):
        raise _invalid("kpt_shape", "is not a pair of small whole numbers")
    rows = _rows(document, from_weights=from_weights)
    parameters = max(_estimate(rows, *scale) for scale in scales)
    if parameters > _MAX_PARAMETERS:
        raise _invalid(
            "the model", f"would have about {parameters / 1e9:.0f} thousand million parameters; the most is {_MAX_PARAMETERS / 1e9:.1f}"
        )


def _whole(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check_number(document: Mapping[str, Any], field: str, low: float, high: float, *, whole: bool = False) -> None:
    value = document.get(field)
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high
    if not number or (whole and not isinstance(value, int)):
        raise _invalid(field, f"is not a {'whole ' if whole else ''}number from {low:g} to {high:g}")


def _check_activation(value: Any) -> None:
    if value is None:
        return
    match = _ACTIVATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] not in ACTIVATIONS:
        raise _invalid("activation", "is not one of the activations that may be named, written like nn.SiLU()")


def _check_scales(document: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """The (depth, width, most channels) that the model may be built with."""
    scales = document.get("scales")
    if scales is None:
        return [(document.get("depth_multiple") or 1.0, document.get("width_multiple") or 1.0, math.inf)]
    if not isinstance(scales, dict) or not 1 <= len(scales) <= 26:  # noqa: PLR2004 - a letter each
        raise _invalid("scales", "is not a mapping of letters to [depth, width, max_channels]")
    found = []
    for letter, scale in scales.items():
        field = f"scales.{str(letter)[:20]}"
        if not isinstance(letter, str) or not _SCALE.fullmatch(letter) or not isinstance(scale, list | tuple) or len(scale) != 3:  # noqa: PLR2004 - depth, width, channels
            raise _invalid(field, "is not a letter with [depth, width, max_channels]")
        values = {"depth": scale[0], "width": scale[1], "max_channels": scale[2]}
        _check_number(values, "depth", 0, _MAX_MULTIPLE)
        _check_number(values, "width", 0, _MAX_MULTIPLE)
        _check_number(values, "max_channels", 1, _MAX_CHANNELS)
        if None in scale:
            raise _invalid(field, "holds an empty value")
        found.append((float(scale[0]), float(scale[1]), float(scale[2])))
    wanted = document.get("scale")
    if wanted and wanted not in scales:
        raise _invalid("scale", "is none of the scales")
    return found


def _rows(document: Mapping[str, Any], *, from_weights: bool) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for part in ("backbone", "head"):
        if not isinstance(document.get(part), list | tuple) or not document[part]:
            raise _invalid(part, "is missing or is not a list of [from, repeats, module, arguments]")
        for index, row in enumerate(document[part]):
            if not (from_weights and _is_backbone(row)):
                _check_row(f"{part}[{index}]", row, len(rows))
            rows.append(list(row))
    if len(rows) > _MAX_LAYERS:
        raise _invalid("the model", f"has more than {_MAX_LAYERS} layers")
    if rows[-1][2] not in TASK_OF_HEAD and rows[-1][2] not in OTHER_HEADS:
        raise _invalid("head", "does not end in a head such as Detect")
    return rows


def _is_backbone(row: Any) -> bool:
    return isinstance(row, list | tuple) and len(row) == _ROW_LENGTH and backbones.is_own_row(row)


def _check_row(field: str, row: Any, index: int) -> None:
    if not isinstance(row, list | tuple) or len(row) != _ROW_LENGTH:
        raise _invalid(field, "is not [from, repeats, module, arguments]")
    source, repeats, module, arguments = row
    sources = list(source) if isinstance(source, list | tuple) else [source]
    if not sources or not all(_whole(s, -max(index, 1), max(index - 1, -1)) for s in sources):
        raise _invalid(field, "takes its input from a layer that is not before it")
    if not _whole(repeats, 1, _MAX_REPEATS):
        raise _invalid(field, f"does not repeat from 1 to {_MAX_REPEATS} times")
    if not isinstance(module, str) or module not in MODULES:
        raise _invalid(field, f"names {str(module)[:80]!r}, which is none of the modules that may be named")
    if not isinstance(arguments, list | tuple) or len(arguments) > 20 or not all(_plain(value) for value in arguments):  # noqa: PLR2004 - the longest has 8
        raise _invalid(field, "has arguments other than plain numbers and known words")


def _plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, list | tuple):
        return depth == 0 and len(value) <= 16 and all(_plain(v, 1) for v in value)  # noqa: PLR2004 - CBLinear's has 5
    if isinstance(value, str):
        return value in WORDS or _ACTIVATION.fullmatch(value) is not None
    if value is None or isinstance(value, bool):
        return True
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) <= _MAX_NUMBER


def _estimate(rows: list[list[Any]], depth: float, width: float, most_channels: float) -> float:
    """A generous guess at the number of parameters: each layer as dense convolutions between its input and output channels."""
    channels: list[float] = []
    total = 0.0
    for source, repeats, module, arguments in rows:
        inputs = [channels[s] if channels else 3.0 for s in (source if isinstance(source, list | tuple) else [source])]
        numbers = [v for v in arguments if isinstance(v, int | float) and not isinstance(v, bool)]
        first = abs(numbers[0]) if numbers else 0.0
        if module == backbones.MODULE:
            out = first
            total += backbones.MOST_PARAMETERS
        elif module in SCALED_MODULES:
            out = min(first, most_channels) * width
        elif module in {"HGStem", "HGBlock", "ResNetLayer", "CBLinear"}:
            out = max((abs(n) for n in numbers[:2]), default=0.0) * (4 if module == "ResNetLayer" else 1)
        elif module == "Concat":
            out = sum(inputs)
        else:
            out = max(inputs)
        kernel = (
            min(abs(numbers[1]), _MAX_KERNEL)
            if module in {"Conv", "ConvTranspose", "nn.ConvTranspose2d", "Focus"} and len(numbers) > 1
            else 2.0
        )
        if module in SCALED_MODULES or module in {"HGStem", "HGBlock", "ResNetLayer", "CBLinear"}:
            total += max(1.0, repeats * depth if repeats > 1 else 1.0) * max(inputs) * out * kernel**2
        channels.append(out)
    return total
