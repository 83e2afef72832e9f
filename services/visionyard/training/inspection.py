"""Asks a child process what a weight file holds, or to make one of a state dict."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from visionyard.kit.errors import Reason, YardError
from visionyard.training.child import ChildFailed, run_child

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightFacts:
    """What weights are.

    Attributes:
        task: ``detect``, ``segment``, ``classify``, ``pose`` or ``obb``.
        class_names: In the order of their ids.
        parameter_count: How many parameters the model has.
        image_size_px: The image's side that it was trained at, in pixels.
        stride: Input sizes are multiples of it, in pixels.
        architecture: The name of its architecture's YAML; empty where it does not say.
    """

    task: str
    class_names: tuple[str, ...]
    parameter_count: int
    image_size_px: int
    stride: int
    architecture: str


def inspect(path: Path, name: str, timeout_s: float) -> WeightFacts:
    """Opens a weight file in a child process with limits on memory and time. Blocks.

    Args:
        path: The file.
        name: What to call it in messages.
        timeout_s: How long that may take, in seconds.

    Raises:
        YardError: WEIGHTS_UNREADABLE, WEIGHTS_UNSAFE or UNSUPPORTED_TASK.
    """
    return _asked("visionyard.training.worker.inspection", [str(path), name], name, timeout_s)


def convert(path: Path, name: str, network: str, target: Path, timeout_s: float) -> WeightFacts:
    """Makes a checkpoint of a torchvision network's state dict, in a child process with limits on memory and time. Blocks.

    Args:
        path: The state dict's file.
        name: What to call it in messages.
        network: The network, one of :data:`visionyard.training.backbones.CHANNELS`.
        target: The checkpoint to write. Its head is untrained.
        timeout_s: How long that may take, in seconds.

    Raises:
        YardError: WEIGHTS_UNREADABLE or WEIGHTS_UNSAFE.
    """
    return _asked("visionyard.training.worker.conversion", [str(path), name, network, str(target)], name, timeout_s)


def _asked(module: str, arguments: list[str], name: str, timeout_s: float) -> WeightFacts:
    with tempfile.TemporaryDirectory() as folder:
        try:
            document = run_child(module, arguments, Path(folder, "report.json"), timeout_s)
        except ChildFailed as error:
            _log.warning("opening %s failed: %s", name, error)
            raise YardError(
                Reason.WEIGHTS_UNREADABLE,
                f"{name} could not be opened within the memory and time that a weight file may take",
                {"file": name},
            ) from None
    if "error" in document:
        raise YardError.from_json(document["error"])
    found = document["found"]
    return WeightFacts(**{**found, "class_names": tuple(found["class_names"])})
