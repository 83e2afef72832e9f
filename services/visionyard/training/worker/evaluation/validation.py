"""Validates one model with Ultralytics' own validator, as ``yolo val`` does, and keeps what it finds picture by picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils.callbacks import get_default_callbacks

from visionyard.kit.artifacts.model import ModelVersion
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.torchvision_classes import torchvision_classes
from visionyard.training.reports.findings import PICTURES_FILE
from visionyard.training.worker.checkpoints import store_file
from visionyard.training.worker.observing import Observed, ValidationObserver
from visionyard.training.worker.task_classes import trainer_and_validator
from visionyard.training.worker.thumbnails import write_thumbnails
from visionyard.training.worker.trainer import device_and_name, validation_metrics

_BATCH = 16


def validate(context: JobContext, model: ModelVersion, weights: Path, task: str, data: Path, split: str) -> dict[str, Any]:
    """Validates a model and stores what it found.

    Args:
        context: The job.
        model: The model version.
        weights: Its weights, in a folder of their own.
        task: The dataset's and the model's task.
        data: The materialised dataset's folder.
        split: Whose pictures.

    Returns:
        The pointers ``result`` and ``pictures``.

    Raises:
        JobCancelled, Preempted, LeaseLost: the job must stop.
    """
    torch.serialization.add_safe_globals(torchvision_classes())
    label = f"{model.name.parent.id}@{model.name.number}"
    seen: list[Observed] = []
    observer = ValidationObserver(data, validation_metrics, seen.append)

    def progress(validator: Any) -> None:
        context.check()
        context.report(f"validating {label}", validator.batch_i or 0, len(validator.dataloader), "batches")

    callbacks = get_default_callbacks()
    callbacks["on_val_batch_start"].append(progress)
    for event, hook in observer.callbacks().items():
        callbacks[event].append(hook)
    _, make_validator = trainer_and_validator(task, str(weights))
    arguments = {
        "task": task,
        "mode": "val",
        "data": str(data if task == "classify" else data / "data.yaml"),
        "split": split,
        "imgsz": model.image_size_px,
        "batch": _BATCH,
        "rect": True,
        "plots": False,
        "device": device_and_name()[0],
        "save_dir": str(weights.parent),
    }
    validator = make_validator(args=arguments, save_dir=weights.parent, _callbacks=callbacks)
    observer.watch(validator)
    validator(model=weights)
    observed = seen[-1]
    write_thumbnails(observed.document, observed.files, weights.parent / PICTURES_FILE)
    result = {"parameter_count": model.parameter_count, "findings": observed.document, "errors": dict(observed.errors)}
    (weights.parent / "result.json").write_text(json.dumps(result), encoding="utf-8")
    prefix = f"{context.attempt_prefix}{weights.parent.name}"
    return {
        "result": store_file(context.store, weights.parent / "result.json", f"{prefix}/result.json"),
        "pictures": store_file(context.store, weights.parent / PICTURES_FILE, f"{prefix}/{PICTURES_FILE}"),
    }
