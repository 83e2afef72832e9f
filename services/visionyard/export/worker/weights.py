"""Opens a model's weights: only in a worker, only after :func:`visionyard.kit.ultralytics_env.prepare`, which makes it safe."""

from __future__ import annotations

from pathlib import Path

import torch
from ultralytics.nn import tasks
from ultralytics.nn.modules import Detect
from ultralytics.nn.modules.head import v10Detect
from ultralytics.nn.tasks import BaseModel, load_checkpoint

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.torchvision_classes import torchvision_classes

_RGB = 3
_MIN_STRIDE = 32


def load_detector(path: Path) -> BaseModel:
    """Loads a detection model as ``model.predict`` does: FP32, the one-to-many head where there is a choice, fused, without gradients.

    Ultralytics 8.4 predicts with the one-to-many head and NMS unless asked for the NMS-free one (``nms=False``), for YOLO26 and YOLOv10
    too, so that head is taken; a model whose one-to-many head was removed keeps the NMS-free one.

    Args:
        path: A ``.pt`` file whose sha256 was checked.

    Raises:
        YardError: WEIGHTS_UNREADABLE, or UNSUPPORTED_TASK for anything but a YOLO detection model on RGB images.
        RuntimeError: weights would be opened unsafely.
    """
    if not tasks.SAFE_LOAD:
        raise RuntimeError("weights are opened with ULTRALYTICS_SAFE_LOAD=1 only, set before ultralytics is imported")
    torch.serialization.add_safe_globals(torchvision_classes())
    try:
        model, _ = load_checkpoint(str(path), device=torch.device("cpu"))
    except (TypeError, RuntimeError, AttributeError, KeyError, ModuleNotFoundError) as error:
        raise YardError(
            Reason.WEIGHTS_UNREADABLE,
            f"the model's weights cannot be opened by this service's Ultralytics ({type(error).__name__}): train or push the model again",
            {"file": path.name},
        ) from error
    head = model.model[-1] if isinstance(model, BaseModel) else None
    channels = model.yaml.get("channels", _RGB) if isinstance(model, BaseModel) else 0
    if type(head) not in {Detect, v10Detect} or channels != _RGB:
        found = f"its last layer is {type(head).__name__}, on {channels} channels"
        raise YardError(
            Reason.UNSUPPORTED_TASK,
            f"only YOLO detection models on RGB images can be exported, and this one is none ({found})",
            {"task": str(getattr(model, "task", ""))},
        )
    model.end2end = False
    model = model.fuse(verbose=False).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def stride_of(model: BaseModel) -> int:
    """The multiple that input sizes must have, in pixels, as Ultralytics' predictor takes it."""
    return max(int(model.stride.max()), _MIN_STRIDE)
