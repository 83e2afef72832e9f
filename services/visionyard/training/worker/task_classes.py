"""Ultralytics' trainer and validator of each task; RT-DETR, a family of detection models, has its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.models.rtdetr.val import RTDETRValidator
from ultralytics.models.yolo.classify import ClassificationValidator
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator
from ultralytics.models.yolo.obb import OBBTrainer, OBBValidator
from ultralytics.models.yolo.pose import PoseTrainer, PoseValidator
from ultralytics.models.yolo.segment import SegmentationTrainer, SegmentationValidator
from ultralytics.nn.tasks import load_checkpoint, yaml_model_load

from visionyard.training.worker.classification import OrderedClassificationTrainer

Maker = Callable[..., Any]
_CLASSES: Mapping[str, tuple[Maker, Maker]] = {
    "detect": (DetectionTrainer, DetectionValidator),
    "segment": (SegmentationTrainer, SegmentationValidator),
    "classify": (OrderedClassificationTrainer, ClassificationValidator),
    "pose": (PoseTrainer, PoseValidator),
    "obb": (OBBTrainer, OBBValidator),
}
_RTDETR_HEAD = "RTDETRDecoder"


def trainer_and_validator(task: str, model: str) -> tuple[Maker, Maker]:
    """The classes that train and validate a model.

    Args:
        task: ``detect``, ``segment``, ``classify``, ``pose`` or ``obb``.
        model: The path of weights or of a YAML, or the name of a YAML that Ultralytics brings.
    """
    return (RTDETRTrainer, RTDETRValidator) if _head(model) == _RTDETR_HEAD else _CLASSES[task]


def _head(model: str) -> str:
    """The name of a model's last module."""
    if Path(model).suffix == ".pt":
        weights, _ = load_checkpoint(model)
        return type(weights.model[-1]).__name__
    return str(yaml_model_load(model)["head"][-1][2])
