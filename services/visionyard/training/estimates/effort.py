"""What a training does, as far as that decides how long it takes, told from its specification without torch."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.model import TASKS, ModelVersion
from visionyard.kit.errors import invalid_field
from visionyard.training.estimates.reading import of_document
from visionyard.training.spec import TrainingSpec

_STOCK = re.compile(r"(yolov?\d+)(u?)-?([nslmx])?u?(-[a-z0-9-]+)?\.yaml")
_OF_A_USER = re.compile(r"yolo1[nslmx]?\.yaml")
"""What :func:`visionyard.training.spec.yaml_file_name` calls a user's YAML."""
_GFLOPS = {
    "yolov5": {"n": 7.7, "s": 24.0, "m": 64.2, "l": 135.0, "x": 246.4},
    "yolov8": {"n": 8.7, "s": 28.6, "m": 78.9, "l": 165.2, "x": 257.8},
    "yolo11": {"n": 6.5, "s": 21.5, "m": 68.0, "l": 86.9, "x": 194.9},
    "yolo26": {"n": 5.4, "s": 20.7, "m": 68.2, "l": 86.4, "x": 193.9},
}
"""Forward passes for one image of 640 pixels in 10^9 operations, as https://docs.ultralytics.com/models/ gives them for detection."""
_OTHERS = "yolov8"
_RTDETR = {"rtdetr-l.yaml": 110.0, "rtdetr-x.yaml": 234.0, "rtdetr-resnet50.yaml": 135.0, "rtdetr-resnet101.yaml": 259.0}
_TASK_FACTOR = {"detect": 1.0, "segment": 1.3, "pose": 1.1, "obb": 1.0, "classify": 0.5}
"""By how much the same backbone under another head costs more; roughly, from the same pages."""
_GFLOPS_A_MILLION_PARAMETERS = 2.8
_UNKNOWN_GFLOPS = 20.0
_LONGEST_MODEL = 100
_DIGEST_DIGITS = 16
_MOST = {
    "parameter_count": 10**12,
    "gflops": 1e7,
    "image_size_px": 65_536,
    "batch_size": 65_536,
    "train_images": 10**9,
    "val_images": 10**9,
    "processes": 4096,
    "nodes": 4096,
}
_LEAST = {"image_size_px": 1, "batch_size": 1, "processes": 1, "nodes": 1}


@dataclass(frozen=True)
class Effort:
    """What is trained; the number of epochs stands apart.

    Attributes:
        task: As in :data:`visionyard.kit.artifacts.model.TASKS`.
        model: The model by its architecture (``yolov8n.yaml``); a user's YAML by a digest. Equal ones cost the same, but for the number of classes.
        parameter_count: How many parameters it has; 0 where that is not known.
        gflops: Its forward pass for one image of 640 pixels in 10^9 operations; 0 where that was not measured.
        image_size_px: The image's side.
        batch_size: Images a step.
        train_images: Images of an epoch.
        val_images: Images of a validation; 0 where there is none between epochs.
        mixed_precision: Whether it computes with mixed precision (on a GPU).
        dataset_digest: Tells datasets apart: 16 hexadecimal digits.
        processes: How many processes train together, on all machines.
        nodes: How many machines those are.
    """

    task: str
    model: str
    parameter_count: int
    gflops: float
    image_size_px: int
    batch_size: int
    train_images: int
    val_images: int
    mixed_precision: bool
    dataset_digest: str
    processes: int = 1
    nodes: int = 1

    def at_once(self, gpus: int) -> int:
        """How many times the pace of one process its processes have together: one GPU, or the CPU of one machine, computes for one at a time.

        Args:
            gpus: How many GPUs each of the machines has.
        """
        return self.nodes * min(math.ceil(self.processes / self.nodes), max(gpus, 1))

    @property
    def model_gflops(self) -> float:
        """As ``gflops``; where that was not measured, by the architecture's name or the number of parameters, roughly."""
        if self.gflops:
            return self.gflops
        if known := _RTDETR.get(self.model):
            return known
        factor = _TASK_FACTOR.get(self.task, 1.0)
        if (match := _STOCK.fullmatch(self.model)) and not _OF_A_USER.fullmatch(self.model):
            return _GFLOPS.get(match[1], _GFLOPS[_OTHERS])[match[3] or "n"] * factor
        if self.parameter_count:
            return self.parameter_count / 1e6 * _GFLOPS_A_MILLION_PARAMETERS * factor
        return _UNKNOWN_GFLOPS

    @property
    def image_gflops(self) -> float:
        """The forward pass for one image of its own size, in 10^9 operations."""
        return self.model_gflops * (self.image_size_px / 640) ** 2

    def check(self, field: str) -> Effort:
        """Returns itself, for one that a stranger describes.

        Args:
            field: What to call it in errors.

        Raises:
            YardError: INVALID_FIELD.
        """
        if self.task not in TASKS:
            raise invalid_field(f"{field}.task", f"takes one of {', '.join(TASKS)}")
        if not 0 < len(self.model) <= _LONGEST_MODEL or not self.model.isprintable():
            raise invalid_field(f"{field}.model", f"takes 1 to {_LONGEST_MODEL} characters that can be printed")
        if not re.fullmatch(rf"[0-9a-f]{{{_DIGEST_DIGITS}}}", self.dataset_digest):
            raise invalid_field(f"{field}.dataset_digest", f"takes {_DIGEST_DIGITS} hexadecimal digits")
        for name, most in _MOST.items():
            least = _LEAST.get(name, 0)
            if not least <= getattr(self, name) <= most:
                raise invalid_field(f"{field}.{name}", f"takes {least} to {most:.0f}, not {getattr(self, name)}")
        return self

    def to_json(self) -> dict[str, Any]:
        """The form in which documents keep it."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Effort:
        """Reads what :meth:`to_json` wrote."""
        return of_document(cls, document)


def effort_of(spec: TrainingSpec, defaults: Mapping[str, Any], version: DatasetVersion, initial: ModelVersion | None) -> Effort:
    """What a training that is asked for does.

    Args:
        spec: What is asked for, checked.
        defaults: Ultralytics' own value of each argument.
        version: The dataset version.
        initial: The model version that it starts from; None for a YAML.
    """
    arguments = {**defaults, **spec.arguments()}
    counts = {split.name: split.image_count for split in version.splits}
    # What has no val split is validated on its train split.
    training, validation = counts.get("train", 0), counts.get("val") or counts.get("train", 0)
    fractions = arguments.get("fraction") or 1.0
    first, second = (fractions[0], fractions[1]) if isinstance(fractions, list) else (fractions, 1.0)
    batch = arguments.get("batch")
    return Effort(
        task=version.task,
        model=_model_of(spec, initial),
        parameter_count=initial.parameter_count if initial else 0,
        gflops=0.0,
        image_size_px=int(arguments.get("imgsz") or defaults.get("imgsz") or 640),
        batch_size=batch if isinstance(batch, int) and batch > 0 else int(defaults.get("batch") or 16),
        train_images=_share(training, first),
        val_images=_share(validation, second) if arguments.get("val", True) else 0,
        mixed_precision=arguments.get("amp") not in {False, "fp32"},
        dataset_digest=hashlib.sha256(version.digest.encode()).hexdigest()[:_DIGEST_DIGITS],
        processes=spec.processes,
        nodes=spec.machines,
    )


def _model_of(spec: TrainingSpec, initial: ModelVersion | None) -> str:
    if spec.model_yaml:
        return f"yaml:{hashlib.sha256(spec.model_yaml.encode()).hexdigest()[:_DIGEST_DIGITS]}"
    if initial is None:
        return spec.architecture[:_LONGEST_MODEL]
    name = initial.architecture
    if name.isprintable() and 0 < len(name) <= _LONGEST_MODEL and not _OF_A_USER.fullmatch(name):
        return name
    return f"weights:{initial.parameter_count}"


def _share(count: int, fraction: float) -> int:
    """How many images Ultralytics takes of a split: a share up to 1, or a number of images above."""
    return min(count, math.ceil(count * fraction) if fraction <= 1 else int(fraction))
