"""What is left of a training when it has ended: its files in the bucket and a version of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.model import ModelFile, ModelVersion, fetch_weights, read_model_version
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.names import ResourceName, VersionName
from visionyard.training.backbones import backbone_of, model_yaml
from visionyard.training.kept_epochs import entries, outlive
from visionyard.training.spec import TrainingSpec, yaml_file_name
from visionyard.training.worker.checkpoints import ARGUMENTS, BEST, LAST, RESULTS, store_file, sweep
from visionyard.training.worker.inspection import inspect_weights
from visionyard.training.worker.trainer import TrainedRun

_MAX_FILES = 2000
_MODEL_FILES = {"best.pt": BEST, "results.csv": RESULTS, "args.yaml": ARGUMENTS}
"""What a model version holds, and where it lies in the run's folder."""


def store_run(context: JobContext, run: TrainedRun, spec: TrainingSpec) -> dict[str, Any]:
    """Writes the run's files to the bucket and points at them, together with what the model version will say.

    Returns:
        The model version's document.
    """
    run.hooks.report("uploading")
    checkpoint = context.job.pointers.get("checkpoint") or {}
    # Epochs kept on request (`save_period`) and event files of earlier attempts are in the bucket, not in this attempt's folder.
    kept = {path: entry for path, entry in checkpoint.get("files", {}).items() if outlive(path)}
    paths = _chosen([path for path in run.folder.rglob("*") if path.is_file() and not path.is_symlink()], run.folder)
    files = dict(kept)
    for path in paths:
        relative = path.relative_to(run.folder).as_posix()
        if relative not in kept:
            context.check()
            files[relative] = store_file(context.store, path, f"{context.attempt_prefix}files/{relative}")
    model = _model_version(context, run, spec, files)
    kept_checkpoint = {**_resumable(checkpoint, files), "measured": run.hooks.measuring.totals()}
    context.point(files=files, trained=model, checkpoint=kept_checkpoint)
    sweep(context, [*files.values(), *entries(kept_checkpoint)])
    return model


def _resumable(checkpoint: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
    """The last checkpoint with its optimizer, which the run's own ``last.pt`` has lost, and what else a resumption with more epochs goes on from."""
    kept = {path: entry for path, entry in checkpoint["files"].items() if outlive(path)}
    made = {path: files[path] for path in (BEST, RESULTS, ARGUMENTS)}
    return {**checkpoint, "files": {**kept, **made, LAST: checkpoint["files"][LAST]}}


def _chosen(paths: list[Path], folder: Path) -> list[Path]:
    """At most so many of a run's files: first what the model needs and the weights, then the run's own files, then those of its sub-folders.

    Ultralytics may write a picture for each one of the validation (``visualize``).
    """

    def rank(path: Path) -> tuple[bool, bool, int, str]:
        relative = path.relative_to(folder)
        return (
            relative.as_posix() not in _MODEL_FILES.values(),
            relative.parts[0] != "weights",
            len(relative.parts),
            relative.as_posix(),
        )

    return sorted(paths, key=rank)[:_MAX_FILES]


def _model_version(context: JobContext, run: TrainedRun, spec: TrainingSpec, files: dict[str, Any]) -> dict[str, Any]:
    known = inspect_weights(run.folder / BEST, "best.pt")
    held = {name: files[path] for name, path in _MODEL_FILES.items() if path in files}
    return ModelVersion(
        name=VersionName(ResourceName.parse(spec.model, "models"), None),
        digest=f"sha256:{files[BEST]['sha256']}",
        task=known["task"],
        class_names=tuple(known["class_names"]),
        parameter_count=known["parameter_count"],
        image_size_px=known["image_size_px"],
        stride=known["stride"],
        architecture=known["architecture"],
        weights="best.pt",
        files={name: ModelFile(entry["key"], entry["size_bytes"], entry["sha256"]) for name, entry in held.items()},
        training_job=str(context.job.name),
        dataset_version=spec.dataset_version,
        metrics=run.metrics,
        best_metric=spec.best_metric,
    ).body()


def publish(context: JobContext, spec: TrainingSpec, model: dict[str, Any]) -> str:
    """Registers the model version, once however often it is tried; returns its name."""
    parent = ResourceName.parse(spec.model, "models")
    job = context.job
    maker = f"{job.name} resumed {job.resumptions}" if job.resumptions else str(job.name)
    document = versions.publish(context.store, parent, model, maker, since=job.create_time)
    return str(document.name)


def initial_model(context: JobContext, spec: TrainingSpec, folder: Path) -> str:
    """What training starts from, in Ultralytics' terms: the path of weights or of a YAML, or the name of a YAML that it brings.

    Raises:
        YardError: MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND or ARTIFACT_CORRUPT.
    """
    if network := backbone_of(spec.architecture):
        path = folder / spec.architecture
        path.write_text(model_yaml(network))
        return str(path)
    if spec.architecture:
        return spec.architecture
    if spec.model_yaml:
        path = folder / yaml_file_name(spec.model_yaml)
        # The set's number of classes takes its place, but Ultralytics wants one to be there.
        path.write_text(spec.model_yaml if yaml.safe_load(spec.model_yaml).get("nc") else f"{spec.model_yaml}\nnc: 1\n")
        return str(path)
    return str(_fetched(context, spec.model_version, folder / "initial.pt"))


def pretrained_weights(context: JobContext, spec: TrainingSpec, folder: Path) -> Path | None:
    """The weights that a new network begins with; None where the job names none.

    Raises:
        YardError: MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND or ARTIFACT_CORRUPT.
    """
    return _fetched(context, spec.pretrained_model_version, folder / "pretrained.pt") if spec.pretrained_model_version else None


def _fetched(context: JobContext, name: str, path: Path) -> Path:
    return fetch_weights(context.store, read_model_version(context.store, VersionName.parse(name, "models")), path)
