"""``yard train``."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, cast

import typer
import yaml

from visionyard.cli import following, output
from visionyard.cli.models import push_file
from visionyard.cli.options import AsJson, Detach, Directory
from visionyard.cli.session import Session, run
from visionyard.client.errors import ClientError, local
from visionyard.client.jobs import by_short_id
from visionyard.client.references import References, short
from visionyard.client.sources import open_source
from visionyard.kit.errors import Reason
from visionyard.training.v1 import training_job_pb2, training_job_service_pb2

_YAML_SUFFIXES = frozenset({".yaml", ".yml"})
_YAML_BYTES = 1 << 20
_SCALE_IN_NAME = re.compile(r"yolo(?:e-)?v?\d+([nslmx])")
"""How Ultralytics tells a model's scale by its file's name (8.4.190, nn/tasks.py, guess_model_scale)."""

Epochs = Annotated[int | None, typer.Option("--epochs", min=1, max=100_000, help="Epochs; Ultralytics' default is 100.")]
BatchSize = Annotated[int | None, typer.Option("--batch", min=1, max=65_536, help="Images a step; Ultralytics' default is 16.")]
ImageSize = Annotated[
    int | None, typer.Option("--imgsz", min=32, max=8192, help="The image's side in pixels; Ultralytics' default is 640.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other training argument of Ultralytics; may be given several times."),
]
BestMetric = Annotated[
    str, typer.Option("--best", metavar="METRIC", help="What chooses best.pt and stops early: mAP50, recall, mAP50-95(M), top1, ...")
]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Keep event files for TensorBoard with the job's files.")]


class _Numbers(TypedDict):
    """Arguments of the client's ``create`` that have options of their own; 0: Ultralytics' default."""

    epochs: int
    batch_size: int
    image_size_px: int


class _Processes(TypedDict, total=False):
    """How many processes train together; what is not asked for is left out."""

    gpus: int
    nodes: int
    launcher: str


class Launcher(enum.StrEnum):
    """Who starts the processes of a training."""

    LOCAL = "local"
    RAY = "ray"


class _Choices(TypedDict):
    """What is chosen beyond Ultralytics' arguments."""

    pretrained: str
    best_metric: str
    tensorboard: bool
    preset: str


class _When(TypedDict):
    """When it gets a slot."""

    priority: int
    after: str


class _Initial(TypedDict, total=False):
    """What a training starts from: one of them."""

    model_version: str
    architecture: str
    model_yaml: str


def parse_override(text: str) -> tuple[str, Any]:
    """``KEY=VALUE``, the value read as YAML: ``lr0=0.01``, ``amp=false``, ``classes=[0, 2]``, ``optimizer=AdamW``."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise typer.BadParameter(f"{text!r}: give KEY=VALUE, like lr0=0.01")
    try:
        parsed = yaml.safe_load(value)
        json.dumps(parsed)
    except (yaml.YAMLError, TypeError, ValueError, RecursionError):
        return key, value  # a date, an unbalanced bracket: what it means is the service's to say
    if isinstance(parsed, str):
        try:
            return key, float(parsed)  # YAML 1.1 takes 1e-3 for a text
        except ValueError:
            return key, parsed
    return key, parsed


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """All ``--set`` options; a key given twice is wrong usage."""
    overrides: dict[str, Any] = {}
    for text in texts:
        key, value = parse_override(text)
        if key in overrides:
            raise typer.BadParameter(f"{key!r} is set twice")
        overrides[key] = value
    return overrides


def train(
    dataset: Annotated[str, typer.Argument(metavar="DATASET[@V]", help="What to train on; without a version the newest.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="What to start from: FILE.yaml, FILE.pt, a YAML's name such as yolo11n.yaml or resnet34.yaml, or MODEL[@V].",
        ),
    ],
    name: Annotated[
        str, typer.Option("--name", metavar="MODEL", help="The model that gets a new version; else named after the dataset.")
    ] = "",
    epochs: Epochs = None,
    batch: BatchSize = None,
    imgsz: ImageSize = None,
    settings: Settings = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus", min=1, max=64, help="Processes that train together on each machine, each with a GPU, or a share of the CPU."
        ),
    ] = None,
    nodes: Annotated[int | None, typer.Option("--nodes", min=1, max=256, help="Machines that train together; with --launcher ray.")] = None,
    launcher: Annotated[
        Launcher | None, typer.Option("--launcher", help="Who starts the processes: the service, or the Ray cluster that it knows.")
    ] = None,
    pretrained: Annotated[
        str,
        typer.Option(
            "--pretrained", metavar="FILE.pt|MODEL[@V]", help="Weights that the network of a YAML begins with, as far as layers fit."
        ),
    ] = "",
    best: BestMetric = "",
    tensorboard: TensorBoard = False,
    preset: Annotated[str, typer.Option("--preset", metavar="NAME", help="Fill in what is not said here from a preset.")] = "",
    priority: Annotated[int, typer.Option("--priority", min=-1000, max=1000, help="Jobs of a higher one get slots first.")] = 0,
    after: Annotated[
        str, typer.Option("--after", metavar="JOB", help="Begin when this training has succeeded, and fail where it does not.")
    ] = "",
    detach: Detach = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Train a model on a dataset; follows the job until it has ended."""
    overrides = parse_overrides(settings or [])

    async def work(session: Session) -> None:
        jobs = session.client.training
        target = name or dataset_id(session, dataset)
        References(session.client.project).resource("models", target)
        version = (await session.client.datasets.get_version(dataset)).name
        _may_begin_with(model, pretrained)
        initial = await initial_model(session, model)
        numbers: _Numbers = {"epochs": epochs or 0, "batch_size": batch or 0, "image_size_px": imgsz or 0}
        asked = {"gpus": gpus, "nodes": nodes, "launcher": launcher.value if launcher else None}
        processes = cast("_Processes", {key: value for key, value in asked.items() if value})
        followed = await _followed(session, after)
        when: _When = {"priority": priority, "after": followed}
        begin_with = await _weights_version(session, pretrained) if pretrained else ""
        choices: _Choices = {"pretrained": begin_with, "best_metric": best, "tensorboard": tensorboard, "preset": preset}
        arguments = {
            "model": target,
            "overrides": overrides,
            **numbers,
            **initial,
            **processes,
            **(when if priority or after else {}),
            **{name: value for name, value in choices.items() if value},
        }

        async def create(request_id: str) -> training_job_pb2.TrainingJob:
            return await jobs.create(
                version, model=target, overrides=overrides, request_id=request_id, **numbers, **initial, **processes, **when, **choices
            )

        with session.pending("train", dataset=version, **arguments) as pending:
            job = await following.begin(session, pending, create, jobs.get)
            if detach:
                session.show(training_job_service_pb2.CreateTrainingJobResponse(training_job=job), lambda: output.write(short(job.name)))
                return
            session.progress.say(f"job {short(job.name)}")
            job = await following.follow(session, jobs, job, pending)
        session.show(training_job_service_pb2.GetTrainingJobResponse(training_job=job), lambda: trained(job))

    run(work, as_json=as_json, directory=directory)


def trained(job: training_job_pb2.TrainingJob) -> None:
    """A training that ended well, for people."""
    progress = job.training_progress
    together = f", {progress.processes} processes together" if progress.processes > 1 else ""
    output.write(f"{short(job.model_version)}: trained for {progress.epoch} epochs on {progress.device or 'cpu'}{together}")
    output.fields([(key, f"{value:.4g}") for key, value in sorted(progress.metrics.items()) if key.startswith("metrics/")])


async def _followed(session: Session, text: str) -> str:
    """The resource name of the training that ``--after`` names, a short id where it is unique; empty for none."""
    if not text:
        return ""
    if "/" in text:
        return text
    return by_short_id([job.name for job in await session.client.training.list()], text)


def dataset_id(session: Session, dataset: str) -> str:
    """The id of the dataset that ``DATASET[@V]`` names."""
    return References(session.client.project).version("datasets", dataset).split("/")[3]


async def initial_model(session: Session, text: str) -> _Initial:
    """What ``--model`` means, as an argument of the client's ``create``."""
    kind, value = what_to_start_from(text)
    if kind == "model_yaml":
        return {"model_yaml": value}
    if kind == "architecture":
        return {"architecture": value}
    return {"model_version": await _weights_version(session, text)}


def _may_begin_with(model: str, pretrained: str) -> None:
    """Refuses ``--pretrained`` where it says nothing, before anything is pushed.

    Raises:
        ClientError: INVALID_ARGUMENT (INVALID_FIELD).
    """
    if pretrained and what_to_start_from(model)[0] in {"weights", "model_version"}:
        raise local(
            Reason.INVALID_FIELD,
            f"--pretrained goes with a model YAML, and --model {model} has weights of its own: leave one of the two out",
            {"field": "pretrained"},
        )
    if pretrained and what_to_start_from(pretrained)[0] not in {"weights", "model_version"}:
        raise local(Reason.INVALID_FIELD, f"--pretrained takes FILE.pt or a model, not {pretrained}", {"field": "pretrained"})


async def _weights_version(session: Session, text: str) -> str:
    """The model version that a weight file or a reference means; a file is pushed where its bytes are not known."""
    kind, value = what_to_start_from(text)
    return await _pushed(session, Path(value)) if kind == "weights" else (await session.client.models.get_version(value)).name


def what_to_start_from(text: str) -> tuple[Literal["model_yaml", "architecture", "weights", "model_version"], str]:
    """What ``--model`` means: the text of a YAML, the name of one, the path of a weight file, or a reference to a model version.

    Raises:
        ClientError: NOT_FOUND (FILE_NOT_FOUND), INVALID_ARGUMENT (MODEL_YAML_INVALID).
    """
    path = Path(text)
    suffix = path.suffix.lower()
    if suffix in _YAML_SUFFIXES:
        if path.is_file():
            return "model_yaml", read_model_yaml(path)
        if "/" not in text:
            return "architecture", text
        raise _missing(path)
    if suffix == ".pt":
        if not path.is_file():
            raise _missing(path)
        return "weights", text
    return "model_version", text


def _missing(path: Path) -> ClientError:
    return local(Reason.FILE_NOT_FOUND, f"there is no file {path}; give FILE.yaml, FILE.pt, or the name of a model", {"path": str(path)})


def read_model_yaml(path: Path) -> str:
    """The text of a model YAML. Where its name says the scale, as Ultralytics reads it, and the text does not, the scale is written into it."""
    try:
        if path.stat().st_size > _YAML_BYTES:
            raise local(
                Reason.MODEL_YAML_INVALID, f"{path} is larger than {_YAML_BYTES} bytes, so it is no model YAML", {"path": str(path)}
            )
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise local(Reason.MODEL_YAML_INVALID, f"{path} is not UTF-8 text, so it is no model YAML", {"path": str(path)}) from error
    except OSError as error:
        raise local(Reason.FILE_NOT_FOUND, f"cannot read {path}: {error.strerror}", {"path": str(path)}) from error
    scale = _SCALE_IN_NAME.search(path.stem)
    if scale and re.search(r"^scales\s*:", text, re.MULTILINE) and not re.search(r"^scale\s*:", text, re.MULTILINE):
        return f"scale: {scale.group(1)}\n{text}"
    return text


async def _pushed(session: Session, path: Path) -> str:
    """The model version with the file's bytes: found under the model named after the file's stem, or pushed there."""
    source = open_source(path)
    model = _model_id(path)
    digest = await source.sha256(following.transfer(session, source.name))
    known = await session.client.models.find_content(model, digest)
    if known is not None:
        return known.name
    pushed = await push_file(session, source, model)
    session.progress.say(f"pushed {path.name} as {short(pushed.name)}")
    return pushed.name


def _model_id(path: Path) -> str:
    """A model's id for a file: its stem, what an id may not hold replaced by '-'."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).lstrip("._-")[:63] or "model"
