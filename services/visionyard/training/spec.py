"""What a training job is asked to do, as its document keeps it, and the checks that it passes before it is queued."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import yaml

from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.training.arguments import ArgumentTable, check_batch, check_image_size, check_overrides
from visionyard.training.backbones import CHANNELS, backbone_of, yaml_name
from visionyard.training.model_yaml import check_model_yaml, task_of_head
from visionyard.training.task_metrics import check_metric_name

_LARGEST = {"epochs": 100_000, "batch_size": 65_536, "image_size_px": 8192}
ARGUMENT_OF_FIELD = {"epochs": "epochs", "batch_size": "batch", "image_size_px": "imgsz"}
"""The fields that stand for arguments of Ultralytics."""
_MAX_OVERRIDES = 200
DEFAULT_BATCH = 16
"""Ultralytics' own."""


@dataclass(frozen=True)
class TrainingSpec:
    """What to train, and how; names are whole resource names with version numbers.

    Attributes:
        dataset_version: The dataset version.
        model: The model that gets a new version.
        model_version: The model version to start from; or
        architecture: the name of a YAML that Ultralytics brings; or
        model_yaml: the text of a YAML. Exactly one of the three is not empty.
        epochs: 0 for Ultralytics' default.
        batch_size: Images a step; 0 for Ultralytics' default.
        image_size_px: The image's side in pixels; 0 for Ultralytics' default.
        overrides: Other training arguments by Ultralytics' names.
        time_limit_s: How long it may train, over all attempts, in seconds; 0 for as long as it takes.
        budget: What it may cost by the price of the machine that it trains on; 0 for no limit.
        gpus: How many processes train together on each machine, each with a GPU or a share of the CPU; 0 for one.
        nodes: On how many machines; 0 for one.
        launcher: ``ray`` where a Ray cluster starts the processes, empty where the job's worker does.
        pretrained_model_version: The model version whose tensors an architecture or a YAML begins with; empty for none.
        best_metric: The metric that chooses the best epoch; empty for Ultralytics' own choice.
        tensorboard: Whether event files are written.
        tuning_job: The search whose trial it is; empty for none. Set by the service alone.
    """

    dataset_version: str
    model: str
    model_version: str = ""
    architecture: str = ""
    model_yaml: str = ""
    epochs: int = 0
    batch_size: int = 0
    image_size_px: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    time_limit_s: float = 0.0
    budget: float = 0.0
    gpus: int = 0
    nodes: int = 0
    launcher: str = ""
    pretrained_model_version: str = ""
    best_metric: str = ""
    tensorboard: bool = False
    tuning_job: str = ""

    @property
    def processes(self) -> int:
        """How many processes train together, on all machines."""
        return max(1, self.gpus) * self.machines

    @property
    def machines(self) -> int:
        """On how many machines they train."""
        return max(1, self.nodes)

    def to_json(self) -> dict[str, Any]:
        """The form in which the job's document keeps it."""
        return {**vars(self), "overrides": dict(self.overrides)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TrainingSpec:
        """Reads what :meth:`to_json` wrote."""
        return cls(**document)

    def arguments(self) -> dict[str, Any]:
        """The training arguments that it comes to, without those that the service sets."""
        own = {"epochs": self.epochs, "batch": self.batch_size, "imgsz": self.image_size_px}
        return {**self.overrides, **{name: value for name, value in own.items() if value}}


def check_spec(spec: TrainingSpec, table: ArgumentTable) -> tuple[TrainingSpec, str]:
    """Checks everything that can be told without reading the bucket.

    Returns:
        The spec with its overrides in Ultralytics' own types; and the task of the model that it starts from, empty where that is a model version.

    Raises:
        YardError: INVALID_FIELD, UNKNOWN_ARGUMENT, RESERVED_ARGUMENT, INVALID_ARGUMENT_VALUE, MODEL_YAML_INVALID or UNSUPPORTED_TASK.
    """
    overrides = check_arguments(spec, table, "training_job.spec")
    if sum(map(bool, (spec.model_version, spec.architecture, spec.model_yaml))) != 1:
        raise invalid_field(
            "training_job.spec.initial_model", "takes a model version, an architecture or a model YAML, and exactly one of them"
        )
    _check_choices(spec, overrides, table)
    task = _task_of_architecture(spec.architecture, table) if spec.architecture else ""
    if spec.model_yaml:
        task = check_model_yaml(spec.model_yaml)
    return replace(spec, overrides=overrides), task


class _Arguments(Protocol):
    """Training arguments, some by fields of their own."""

    @property
    def epochs(self) -> int:
        """0 where it is not said."""

    @property
    def batch_size(self) -> int:
        """0 where it is not said."""

    @property
    def image_size_px(self) -> int:
        """0 where it is not said."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        """By Ultralytics' names."""


def check_arguments(given: _Arguments, table: ArgumentTable, prefix: str) -> dict[str, Any]:
    """Checks the arguments of a job or a preset.

    Args:
        given: What holds them: ``epochs``, ``batch_size``, ``image_size_px`` and ``overrides``.
        table: What the installed Ultralytics says.
        prefix: Where they stand in the request, for messages.

    Returns:
        The overrides in Ultralytics' own types.

    Raises:
        YardError: INVALID_FIELD, UNKNOWN_ARGUMENT, RESERVED_ARGUMENT or INVALID_ARGUMENT_VALUE.
    """
    _check_numbers(given, prefix)
    if len(given.overrides) > _MAX_OVERRIDES:
        raise invalid_field(f"{prefix}.overrides", f"holds more than {_MAX_OVERRIDES} arguments")
    overrides = check_overrides(given.overrides, table)
    for name, argument in ARGUMENT_OF_FIELD.items():
        if getattr(given, name) and argument in overrides and overrides[argument] != getattr(given, name):
            raise YardError(
                Reason.INVALID_ARGUMENT_VALUE,
                f"{argument} is given twice, as {getattr(given, name)} and as {overrides[argument]}: leave one out",
                {"argument": argument},
            )
    return overrides


def resumed_spec(spec: TrainingSpec, epochs: int, trained: int) -> TrainingSpec:
    """What a training does that goes on to another number of epochs.

    Args:
        spec: What it did.
        epochs: How many epochs it is to have in all.
        trained: How many are stored.

    Raises:
        YardError: INVALID_FIELD.
    """
    if not trained < epochs <= _LARGEST["epochs"]:
        raise invalid_field(
            "epochs", f"takes more than the {trained} epochs that are trained, and at most {_LARGEST['epochs']}, not {epochs}"
        )
    return replace(spec, epochs=epochs, overrides={name: value for name, value in spec.overrides.items() if name != "epochs"})


def _check_choices(spec: TrainingSpec, overrides: Mapping[str, Any], table: ArgumentTable) -> None:
    if spec.pretrained_model_version and spec.model_version:
        raise invalid_field(
            "training_job.spec.pretrained_model_version",
            "goes with a model YAML (--model FILE.yaml): a training that starts from weights has them already, so leave one of the two out",
        )
    if spec.pretrained_model_version and "pretrained" in overrides:
        raise invalid_field(
            "training_job.spec.pretrained_model_version", "says what to begin with, and so does the argument pretrained: leave one out"
        )
    if spec.best_metric:
        check_metric_name(spec.best_metric)
        if overrides.get("val") is False:
            raise invalid_field("training_job.spec.best_metric", "needs a validation after each epoch: leave val=false out")
    if spec.tensorboard:
        check_tensorboard(table)


def check_tensorboard(table: ArgumentTable) -> None:
    """Refuses event files where nothing could write them.

    Raises:
        YardError: INVALID_FIELD.
    """
    if not table.tensorboard:
        raise invalid_field(
            "training_job.spec.tensorboard",
            "needs the package tensorboard, which is not installed where the service runs: install it there",
        )


def _check_numbers(given: _Arguments, prefix: str) -> None:
    for name, largest in _LARGEST.items():
        if not 0 <= getattr(given, name) <= largest:
            raise invalid_field(f"{prefix}.{name}", f"takes 0 to {largest}, not {getattr(given, name)}")
    if given.image_size_px:
        check_image_size(given.image_size_px)
    if given.batch_size:
        check_batch(given.batch_size)


def _task_of_architecture(name: str, table: ArgumentTable) -> str:
    if backbone_of(name):
        return "classify"
    head = table.architectures.get(name)
    if head is None:
        raise YardError(
            Reason.MODEL_YAML_INVALID,
            f"there is no model YAML called {name[:100]!r}, neither of Ultralytics {table.version} nor for a network of torchvision: {_instead(name, table)}",
            {"file": name[:100], "field": "architecture"},
        )
    return task_of_head(head, name)


def _instead(name: str, table: ArgumentTable) -> str:
    """What to give in place of a model YAML's name that is not known."""
    # Such as yolo11-cls-resnet18.yaml, which Ultralytics brings and which downloads weights when it is built.
    own = [yaml_name(network) for network in CHANNELS if name.endswith(f"-{yaml_name(network)}")]
    if own:
        return f"use {own[0]}, the same network without a download"
    near = difflib.get_close_matches(name[:100], [*table.architectures, *map(yaml_name, CHANNELS)], n=3)
    return f"did you mean {' or '.join(near)}?" if near else "use one such as yolov8n.yaml or resnet34.yaml, or a file of your own"


def yaml_file_name(model_yaml: str) -> str:
    """The file name to give a user's YAML: Ultralytics tells the scale (n, s, m, l, x) by the name, so the YAML's own ``scale`` goes there."""
    scale = yaml.safe_load(model_yaml).get("scale") or ""
    return f"yolo1{scale}.yaml"
