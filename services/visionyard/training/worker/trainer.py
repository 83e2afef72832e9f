"""One attempt of a training: from the job's specification, or from the last stored epoch, to the run's folder with ``best.pt`` and metrics."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import load_checkpoint, torch_safe_load
from ultralytics.utils import DEFAULT_CFG_DICT, SETTINGS
from ultralytics.utils.plotting import plot_results
from ultralytics.utils.torch_utils import strip_optimizer

from visionyard.kit.jobs.context import JobContext
from visionyard.kit.torchvision_classes import torchvision_classes
from visionyard.training.kept_epochs import entries
from visionyard.training.reports.phases import Stopwatch
from visionyard.training.worker.callbacks import PATH_ARGUMENTS, TrainingHooks, finite, write_arguments
from visionyard.training.worker.checkpoints import ARGUMENTS, BEST, LAST, RESULTS, restore, sweep
from visionyard.training.worker.choices import choosing
from visionyard.training.worker.measuring import Measuring
from visionyard.training.worker.observing import ValidationObserver
from visionyard.training.worker.pace import LimitReached, Pace
from visionyard.training.worker.reporting import write_report
from visionyard.training.worker.task_classes import Maker, trainer_and_validator

_log = logging.getLogger(__name__)
LAST_MOMENT_S = 3.0
"""What an epoch that is being stored gets when the work has to stop, in seconds."""


@dataclass(frozen=True)
class TrainedRun:
    """What a training has made.

    Attributes:
        folder: Ultralytics' ``save_dir``.
        metrics: Validation metrics of ``best.pt`` under Ultralytics' own keys (``metrics/mAP50(B)``, ...).
        hooks: The attempt's hooks, to report further.
    """

    folder: Path
    metrics: dict[str, float]
    hooks: TrainingHooks


def device_and_name(index: int = 0) -> tuple[str, str]:
    """What to train on, for Ultralytics and for people: a GPU of the slot's (``CUDA_VISIBLE_DEVICES`` leaves no other), else the CPU."""
    if torch.cuda.is_available():
        return str(index), f"cuda:{index} ({torch.cuda.get_device_name(index)})"
    return "cpu", "cpu"


def train(context: JobContext, arguments: Mapping[str, Any], model: str, task: str, data: Path, watch: Stopwatch, pace: Pace) -> TrainedRun:
    """Trains to the end, from where an earlier attempt had come.

    Args:
        context: The job.
        arguments: Ultralytics' training arguments, checked, without those that the service sets.
        model: What to start from: the path of weights or of a YAML, or the name of a YAML that Ultralytics brings.
        task: The dataset's and the model's task.
        data: The ``data.yaml`` of the materialised dataset; its folder for ``classify``.
        watch: Runs since the attempt began.
        pace: Times it, and ends it where its time or budget runs out.

    Raises:
        YardError: ARTIFACT_CORRUPT, the stored checkpoint cannot be read; LIMIT_REACHED, before any epoch is stored.
        JobCancelled, Preempted, LeaseLost: the job must stop.
    """
    allow_torchvision()
    folder = context.scratch / "run"
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = context.job.pointers.get("checkpoint")
    device, device_name = device_and_name()
    if device != "cpu":
        place_amp_model()
    measuring = Measuring(watch, (checkpoint or {}).get("measured", {}))
    observer = ValidationObserver(data if data.is_dir() else data.parent, validation_metrics, partial(write_report, folder=folder))
    hooks = TrainingHooks(context, context.job.spec, device_name, checkpoint["epoch"] if checkpoint else 0, measuring, observer, pace)
    if context.job.attempt > 1:
        sweep(context, entries(checkpoint or {}))
    if checkpoint:
        put_back(context, checkpoint, folder, arguments)
    try:
        make_trainer, make_validator = trainer_and_validator(task, model)
        if checkpoint and checkpoint["ended"]:
            return TrainedRun(folder, _finish(folder, make_validator, data, hooks, observer), hooks)
        own: dict[str, Any] = {"data": str(data), "device": device, "save_dir": str(folder)}
        overrides = overrides_from(checkpoint, arguments, model, own)
        make_trainer = choosing(make_trainer, context.job.spec.get("best_metric", ""), context.job.spec.get("pretrained_model_version", ""))
        trainer = make_trainer(overrides=overrides, _callbacks=hooks.callbacks())
        try:
            trainer.train()
        except LimitReached:
            # Within an epoch: the folder holds the last whole one, and the end's work goes on from there.
            hooks.checkpoints.wait()
            context.point(checkpoint={**context.job.pointers["checkpoint"], "ended": True}, **pace.pointers())
            return TrainedRun(folder, _finish(folder, make_validator, data, hooks, observer), hooks)
        hooks.checkpoints.wait()
        write_arguments(trainer, context.job.spec, folder / ARGUMENTS)
        return TrainedRun(folder, validation_metrics(trainer.metrics), hooks)
    finally:
        hooks.checkpoints.close(LAST_MOMENT_S)
        hooks.close()


def allow_torchvision() -> None:
    """Lets torch open checkpoints with torchvision's networks in them."""
    torch.serialization.add_safe_globals(torchvision_classes())


def put_back(context: JobContext, checkpoint: dict[str, Any], folder: Path, arguments: Mapping[str, Any]) -> None:
    """Puts an earlier attempt's last epoch to where training goes on from it.

    Raises:
        YardError: ARTIFACT_CORRUPT, it cannot be read.
    """
    restore(context.store, checkpoint, folder)
    _log.info("going on after epoch %d", checkpoint["epoch"])
    if context.job.resumptions and not checkpoint["ended"] and _resumable(folder / LAST):
        _set_epochs(folder / LAST, arguments)


def overrides_from(checkpoint: dict[str, Any] | None, arguments: Mapping[str, Any], model: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """What Ultralytics is asked for: to go on from a checkpoint that was put back, or to begin.

    Args:
        checkpoint: The checkpoint, if there is one.
        arguments: The training arguments.
        model: What to begin with.
        own: The arguments that the worker sets; ``save_dir`` among them.
    """
    last = Path(own["save_dir"]) / LAST
    if checkpoint and _resumable(last):
        return {**own, "resume": str(last), "model": str(last)}
    return {**arguments, **own, "model": model, "save": True}


def _resumable(last: Path) -> bool:
    """Whether Ultralytics can go on from it: ``resume`` on a stripped file would begin a new training on a set of its own."""
    _, checkpoint = load_checkpoint(last)
    return int(checkpoint.get("epoch", -1)) >= 0 and checkpoint.get("optimizer") is not None


def _set_epochs(last: Path, arguments: Mapping[str, Any]) -> None:
    """Writes the epochs that are wanted now into a checkpoint: Ultralytics takes them from there, whatever it is asked for.

    Its patience begins anew, since a training that stopped for want of improvement would stop again after an epoch.
    """
    wanted = arguments.get("epochs", DEFAULT_CFG_DICT["epochs"])
    checkpoint, _ = torch_safe_load(last)
    checkpoint["train_args"]["epochs"] = wanted
    if stopper := checkpoint.get("stopper"):
        stopper["best_epoch"] = int(checkpoint["epoch"]) + 1
    torch.save(checkpoint, last)


def _finish(folder: Path, make_validator: Maker, data: Path, hooks: TrainingHooks, observer: ValidationObserver) -> dict[str, float]:
    """The end's work of a training whose epochs are all done: Ultralytics' ``final_eval`` with its public parts, since it resumes no finished run."""
    hooks.report("validating")
    stripped = strip_optimizer(folder / LAST)
    strip_optimizer(folder / BEST, updates={"train_results": stripped.get("train_results")})
    _, checkpoint = load_checkpoint(folder / BEST)
    used = checkpoint["train_args"]
    device, _ = device_and_name()
    # The trainer validates with its own arguments, in rectangles and twice its batch (rotated boxes: once), and on a GPU with mixed precision in halves.
    batch = max(int(used.get("batch") or 1), 1) * (1 if used["task"] == "obb" else 2)
    arguments = {
        **{key: value for key, value in used.items() if key not in PATH_ARGUMENTS},
        "rect": True,
        "compile": False,
        "quantize": 16 if device != "cpu" and used.get("amp") not in {False, "fp32"} else None,
        "data": str(data),
        "batch": batch,
        "device": device,
        "save_dir": str(folder),
        "mode": "val",
    }
    validator = make_validator(args=arguments, _callbacks=hooks.callbacks())
    observer.watch(validator)
    metrics = validator(model=folder / BEST)
    if used.get("plots"):
        plot_results(file=folder / RESULTS)
    return validation_metrics(metrics)


def validation_metrics(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """What of Ultralytics' figures is a metric of a validation; losses and times are none."""
    return {key: value for key, value in finite(metrics or {}).items() if key.startswith("metrics/")}


def place_amp_model() -> None:
    """Gives Ultralytics' check of mixed precision a model to run, which it would download otherwise.

    It compares the boxes that ``yolo26n.pt`` finds with FP32 and with AMP on one picture. An untrained one of the same architecture runs the same layers
    but finds none, so the check shows that AMP runs, not that it is exact.
    """
    path = Path(SETTINGS["weights_dir"]) / "yolo26n.pt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        YOLO("yolo26n.yaml", task="detect").save(path)


def log_outcome(run: TrainedRun) -> None:
    """Writes the metrics to the job's log."""
    _log.info("metrics of best.pt: %s", json.dumps(run.metrics))
    shutil.rmtree(run.folder.parent / "outbox", ignore_errors=True)
