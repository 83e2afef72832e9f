"""Ultralytics' training arguments, checked before a job is queued against what the installed version says of them.

The rules are those of ``ultralytics/cfg/__init__.py: check_cfg`` (8.4), applied to the tables that a child process read from the
installed version (``worker/describe.py``): the service itself imports neither ultralytics nor torch.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visionyard.kit.errors import Reason, YardError

RESERVED = frozenset({"data", "device", "project", "name", "save_dir", "exist_ok", "resume", "mode", "task", "model"})
"""Set by the service; refused by name (a fixed part of the interface)."""
_PINNED = {
    "cfg": "it names a file on the server",
    "distill_model": "it names a file on the server",
    "save": "every epoch's checkpoint is kept, so that a killed training goes on",
}
"""Refused as well, and why."""
_OTHER_MODES = ("Predict settings", "Visualize settings", "Export settings", "Tracker settings", "Custom config.yaml")
_USED_IN_TRAINING = frozenset({"visualize", "augment", "agnostic_nms", "classes", "save_json"})
"""What stands under another mode's heading in ``default.yaml``, yet is read by training or its validation."""
_CHOICES: dict[str, tuple[Any, ...]] = {
    "split": ("val", "test", "train"),
    "copy_paste_mode": ("flip", "mixup"),
    "auto_augment": ("randaugment", "autoaugment", "augmix"),
    "optimizer": ("SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp", "auto"),
    "cache": (True, False, "ram"),
    "pretrained": (True, False),
    "compile": (True, False, "default", "reduce-overhead", "max-autotune-no-cudagraphs"),
}
_WHY_NOT = {
    "disk": "every image would be written uncompressed beside the dataset's files, which trainings share and whose space is counted without it;"
    " take cache=ram, or leave it out",
}
"""Values of ``cache`` that Ultralytics takes and this service does not, and why."""
_OFF = frozenset({"auto_augment"})
"""What null switches off although it has a default (``k != "auto_augment"`` in check_cfg)."""
_LIMITS: dict[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "workers": (0, 64),
    "nbs": (1, 65_536),
    "max_det": (1, 100_000),
    "time": (0, 24 * 365),
    "seed": (0, 2**31 - 1),
    "save_period": (-1, 100_000),
}
_INT8 = frozenset({"8", "int8", "w8a8"})
"""The values of ``quantize`` that mean quantization-aware training (cfg/__init__.py, QUANTIZE_ALIASES)."""
_LARGEST_BATCH = 65_536
_SMALLEST_IMAGE_PX, _LARGEST_IMAGE_PX, _STRIDE_PX = 32, 8192, 32
_LONGEST_LIST = 1000


@dataclass(frozen=True)
class ArgumentTable:
    """What the installed Ultralytics says of its arguments.

    Attributes:
        version: Its version.
        defaults: Every argument with its default.
        sections: The heading in ``default.yaml`` that each argument stands under.
        floats: Names that take an int or a float.
        fractions: Names that take a number from 0 to 1.
        ints: Names that take an int.
        int_minimum: The least value of some of them.
        bools: Names that take a bool.
        strings: Names that take a str.
        quantize: The values that ``quantize`` takes, lower case.
        architectures: The model YAMLs that it brings, by file name, with the name of the last module (``Detect``).
        weights: The names of the weight files that it publishes, of the tasks that are handled here.
        weights_url: The address below which they lie.
        tensorboard: Whether event files for TensorBoard can be written where it runs.
        quantization: Whether NVIDIA ModelOpt is there, with which it trains for INT8.
    """

    version: str
    defaults: Mapping[str, Any]
    sections: Mapping[str, str]
    floats: frozenset[str]
    fractions: frozenset[str]
    ints: frozenset[str]
    int_minimum: Mapping[str, int]
    bools: frozenset[str]
    strings: frozenset[str]
    quantize: frozenset[str]
    architectures: Mapping[str, str]
    weights: frozenset[str]
    weights_url: str
    tensorboard: bool
    quantization: bool

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ArgumentTable:
        """Reads what ``worker/describe.py`` printed."""
        return cls(
            version=document["version"],
            defaults=document["defaults"],
            sections=document["sections"],
            floats=frozenset(document["floats"]),
            fractions=frozenset(document["fractions"]),
            ints=frozenset(document["ints"]),
            int_minimum=document["int_minimum"],
            bools=frozenset(document["bools"]),
            strings=frozenset(document["strings"]),
            quantize=frozenset(document["quantize"]),
            architectures=document["architectures"],
            weights=frozenset(document["weights"]),
            weights_url=document["weights_url"],
            tensorboard=document["tensorboard"],
            quantization=document["quantization"],
        )

    def is_for_training(self, name: str) -> bool:
        """Whether training or its validation reads the argument."""
        return self.sections.get(name, "") not in _OTHER_MODES or name in _USED_IN_TRAINING


def check_overrides(overrides: Mapping[str, Any], table: ArgumentTable) -> dict[str, Any]:
    """Checks training arguments by name, type and range.

    Args:
        overrides: Names and values as JSON gives them: whole numbers may come as floats.
        table: What the installed Ultralytics says.

    Returns:
        The same, with whole numbers as ints where an int is wanted.

    Raises:
        YardError: RESERVED_ARGUMENT, UNKNOWN_ARGUMENT or INVALID_ARGUMENT_VALUE, for the first name in alphabetical order that is wrong.
    """
    return {name: _check(name, overrides[name], table) for name in sorted(overrides)}


def _check(name: str, value: Any, table: ArgumentTable) -> Any:
    shown = name[:100]
    if name in RESERVED:
        raise YardError(Reason.RESERVED_ARGUMENT, f"the service sets {shown!r} itself: leave it out", {"argument": shown})
    if name in _PINNED:
        raise YardError(
            Reason.RESERVED_ARGUMENT, f"{shown!r} cannot be set here, because {_PINNED[name]}: leave it out", {"argument": shown}
        )
    if name not in table.defaults:
        raise _unknown(shown, table)
    if not table.is_for_training(name):
        raise YardError(
            Reason.UNKNOWN_ARGUMENT,
            f"{shown!r} is no training argument: Ultralytics {table.version} lists it under {table.sections[name]!r}; leave it out",
            {"argument": shown, "nearest": ""},
        )
    return _check_value(name, value, table)


def _unknown(name: str, table: ArgumentTable) -> YardError:
    known = [key for key in table.defaults if table.is_for_training(key) and key not in _PINNED]
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(repr(match) for match in near)}?" if near else "see docs.ultralytics.com/usage/cfg for the list"
    return YardError(
        Reason.UNKNOWN_ARGUMENT,
        f"Ultralytics {table.version} has no argument {name!r}: {hint}",
        {"argument": name, "nearest": ", ".join(near)},
    )


def invalid_value(name: str, value: Any, wanted: str, why: str | None = None) -> YardError:
    """An INVALID_ARGUMENT_VALUE error: what the argument takes, what it got and, where that is not plain, why it is not taken."""
    message = f"{name} takes {wanted}, not {str(value)[:100]!r}"
    return YardError(Reason.INVALID_ARGUMENT_VALUE, f"{message}: {why}" if why else message, {"argument": name})


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return _number(value) and float(value).is_integer()


def _check_value(name: str, value: Any, table: ArgumentTable) -> Any:
    if value is None:
        if table.defaults[name] is not None and name not in _OFF:
            raise invalid_value(name, None, "a value")
        return None
    if name in _SPECIAL:
        return _SPECIAL[name](value)
    if name in _CHOICES:
        return _choice(name, value)
    if name in table.ints:
        return _integer(name, value, table.int_minimum.get(name))
    return _check_simple(name, value, table)


def _check_simple(name: str, value: Any, table: ArgumentTable) -> Any:
    if name in table.fractions:
        fits, wanted = _number(value) and 0 <= value <= 1, "a number from 0 to 1"
    elif name in table.floats:
        low, high = _LIMITS.get(name, (-1e6, 1e6))
        fits, wanted = _number(value) and low <= value <= high, f"a number from {low:g} to {high:g}"
    elif name in table.bools:
        fits, wanted = isinstance(value, bool), "true or false"
    elif name == "quantize":
        value = int(value) if _whole(value) else value
        fits, wanted = str(value).lower() in table.quantize, f"one of {', '.join(sorted(table.quantize))}"
    else:
        fits, wanted = False, "nothing that this service knows how to check"
    if not fits:
        raise invalid_value(name, value, wanted)
    if name == "quantize" and str(value).lower() in _INT8 and not table.quantization:
        raise YardError(
            Reason.INVALID_ARGUMENT_VALUE,
            f"quantize={value} trains for INT8 with NVIDIA ModelOpt, which is not installed where the service runs: install nvidia-modelopt and huggingface_hub there,"
            " or leave it out",
            {"argument": name},
        )
    return value


def _choice(name: str, value: Any) -> Any:
    for choice in _CHOICES[name]:
        if value == choice and isinstance(value, bool) == isinstance(choice, bool):
            return value
        if isinstance(value, str) and isinstance(choice, str) and value.lower() == choice.lower():
            return choice
    choices = ", ".join(str(choice) for choice in (*_CHOICES[name], *(["null"] if name in _OFF else [])))
    why = _WHY_NOT.get(str(value).lower()) if name == "cache" else None
    raise invalid_value(name, value, f"one of {choices}", why)


def _integer(name: str, value: Any, minimum: int | None) -> int:
    low, high = _LIMITS.get(name, (minimum if minimum is not None else -(2**31), 2**31 - 1))
    if not _whole(value) or not low <= value <= high:
        raise invalid_value(name, value, f"a whole number from {int(low)} to {int(high)}")
    return int(value)


def check_batch(value: Any) -> float:
    """Images a step: a whole number from 1, -1 for Ultralytics' own choice, or the fraction of GPU memory to fill."""
    if _whole(value) and (value == -1 or 1 <= value <= _LARGEST_BATCH):
        return int(value)
    if _number(value) and 0 < value < 1:
        return float(value)
    raise invalid_value("batch", value, f"a whole number from 1 to {_LARGEST_BATCH}, -1, or a fraction of GPU memory between 0 and 1")


def check_image_size(value: Any) -> int:
    """The image's side at training in pixels."""
    if not _whole(value) or not _SMALLEST_IMAGE_PX <= value <= _LARGEST_IMAGE_PX or value % _STRIDE_PX:
        raise invalid_value("imgsz", value, f"a multiple of {_STRIDE_PX} from {_SMALLEST_IMAGE_PX} to {_LARGEST_IMAGE_PX}")
    return int(value)


def _amp(value: Any) -> Any:
    if not isinstance(value, bool) and str(value).lower() not in {"fp16", "bf16", "fp32"}:
        raise invalid_value("amp", value, "true, false, fp16, bf16 or fp32")
    return value.lower() if isinstance(value, str) else value


def _scale(value: Any) -> Any:
    if isinstance(value, list):
        if len(value) != 2 or not all(_number(v) and 0 < v <= 10 for v in value) or value[0] > value[1]:  # noqa: PLR2004 - a range has two ends
            raise invalid_value("scale", value, "a number from 0 to 1, or the least and the largest factor")
        return value
    if not _number(value) or not 0 <= value <= 1:
        raise invalid_value("scale", value, "a number from 0 to 1, or the least and the largest factor")
    return value


def _fraction(value: Any) -> Any:
    wanted = "a share above 0 up to 1, a count of images above 1, or a list of [train, val] or [train, val, test] of either"
    if isinstance(value, list):
        if len(value) not in {2, 3} or not all(_number(v) and v >= 0 and (v <= 1 or _whole(v)) for v in value) or not all(value[:2]):
            raise invalid_value("fraction", value, wanted)
        return [float(v) if v in {0, 1} or not _whole(v) else int(v) for v in value]
    if not _number(value) or value <= 0 or (value > 1 and not _whole(value)):
        raise invalid_value("fraction", value, wanted)
    return int(value) if value > 1 else float(value)


def _freeze(value: Any) -> Any:
    wanted = "how many layers to freeze, or a list of their numbers or names"
    if _whole(value) and 0 <= value <= _LONGEST_LIST:
        return int(value)
    if not isinstance(value, list) or len(value) > _LONGEST_LIST:
        raise invalid_value("freeze", value, wanted)
    if not all((_whole(v) and v >= 0) or (isinstance(v, str) and len(v) <= 100) for v in value):  # noqa: PLR2004 - no layer's name is longer
        raise invalid_value("freeze", value, wanted)
    return [v if isinstance(v, str) else int(v) for v in value]


def _classes(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    if len(values) > _LONGEST_LIST or not all(_whole(v) and v >= 0 for v in values):
        raise invalid_value("classes", value, "a class id or a list of class ids")
    return [int(v) for v in values]


_SPECIAL = {
    "amp": _amp,
    "batch": check_batch,
    "classes": _classes,
    "fraction": _fraction,
    "freeze": _freeze,
    "imgsz": check_image_size,
    "scale": _scale,
}
