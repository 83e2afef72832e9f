"""``yard train``."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import typer
import yaml

from visionyard.cli import following, output
from visionyard.cli.durations import duration_text, parse_duration, seconds_of
from visionyard.cli.models import push_file
from visionyard.cli.optimizer import without_effect
from visionyard.cli.options import AsJson, Detach, Directory, above_zero
from visionyard.cli.session import Session, run
from visionyard.cli.weights import architecture_of
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
_PUBLISHED = re.compile(r"(?:yolo|rtdetr)[a-z0-9-]*\.pt")
"""What published weights are called, about: `yard model fetch` knows the names, and tells the nearest of one that is none."""

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
TensorBoard = Annotated[
    bool | None,
    typer.Option(
        "--tensorboard/--no-tensorboard", help="Keep event files for TensorBoard with the job's files, or not though a preset says so."
    ),
]


class Launcher(enum.StrEnum):
    """Who starts the processes of a training."""

    LOCAL = "local"
    RAY = "ray"


TrainingData = Annotated[str, typer.Argument(metavar="DATASET[@V]", help="What to train on; without a version the newest.")]
StartModel = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="What to start from: FILE.yaml, FILE.pt, a YAML's name such as yolo11n.yaml or resnet34.yaml, or MODEL[@V].",
    ),
]
TargetModel = Annotated[
    str, typer.Option("--name", metavar="MODEL", help="The model that gets a new version; else named after the dataset.")
]
PretrainedWeights = Annotated[
    str,
    typer.Option("--pretrained", metavar="FILE.pt|MODEL[@V]", help="Weights that the network of a YAML begins with, as far as layers fit."),
]
PresetName = Annotated[str, typer.Option("--preset", metavar="NAME", help="Fill in what is not said here from a preset.")]
Priority = Annotated[int, typer.Option("--priority", min=-1000, max=1000, help="Jobs of a higher one get slots first.")]
After = Annotated[str, typer.Option("--after", metavar="JOB", help="Begin when this training has succeeded, and fail where it does not.")]
TimeLimit = Annotated[
    str, typer.Option("--time-limit", metavar="DURATION", help="End well with the last epoch that fits into it: 90s, 45m, 2h, 1h30m.")
]
Budget = Annotated[
    float | None,
    typer.Option("--budget", metavar="AMOUNT", callback=above_zero, help="Likewise, by what training costs at the machine's own price."),
]
Gpus = Annotated[
    int | None,
    typer.Option("--gpus", min=1, max=64, help="Processes that train together on each machine, each with a GPU, or a share of the CPU."),
]
Nodes = Annotated[int | None, typer.Option("--nodes", min=1, max=256, help="Machines that train together; with --launcher ray.")]
LaunchedBy = Annotated[
    Launcher | None, typer.Option("--launcher", help="Who starts the processes: the service, or the Ray cluster that it knows.")
]


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
        raise typer.BadParameter(f"{text!r}: give KEY=VALUE, like mosaic=0.5")
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


async def asked(
    session: Session,
    dataset: str,
    model: str,
    name: str,
    epochs: int | None,
    batch: int | None,
    imgsz: int | None,
    settings: Sequence[str] | None,
    pretrained: str,
    best: str,
    preset: str,
    priority: int,
    after: str,
    time_limit: str,
    budget: float | None,
    *,
    tensorboard: bool | None,
    gpus: int | None,
    nodes: int | None,
    launcher: Launcher | None,
    pushes: bool = True,
) -> dict[str, Any]:
    """What the options of `yard train` mean, as arguments of the client's ``create``; what says nothing is left out.

    Where it need not push weights that the service does not know, their architecture stands for them if they name one.
    """
    overrides = parse_overrides(settings or [])
    time_limit_s = parse_duration(time_limit, "--time-limit") if time_limit else 0.0
    target = name or dataset_id(session, dataset)
    References(session.client.project).resource("models", target)
    version = (await session.client.datasets.get_version(dataset)).name
    may_begin_with(model, pretrained)
    initial = await initial_model(session, model, pushes=pushes)
    wanted = {
        "epochs": epochs,
        "batch_size": batch,
        "image_size_px": imgsz,
        "pretrained": await weights_version(session, pretrained) if pretrained and pushes else "",
        "best_metric": best,
        "tensorboard": tensorboard,
        "preset": preset,
        "priority": priority,
        "after": await _followed(session, after),
        "time_limit_s": time_limit_s,
        "budget": budget,
        "gpus": gpus,
        "nodes": nodes,
        "launcher": launcher.value if launcher else "",
    }
    return {
        "dataset": version,
        "model": target,
        "overrides": overrides,
        **initial,
        **{key: value for key, value in wanted.items() if value or (key == "tensorboard" and preset and value is False)},
    }


def train(
    dataset: TrainingData,
    model: StartModel,
    name: TargetModel = "",
    epochs: Epochs = None,
    batch: BatchSize = None,
    imgsz: ImageSize = None,
    settings: Settings = None,
    gpus: Gpus = None,
    nodes: Nodes = None,
    launcher: LaunchedBy = None,
    pretrained: PretrainedWeights = "",
    best: BestMetric = "",
    tensorboard: TensorBoard = None,
    preset: PresetName = "",
    priority: Priority = 0,
    after: After = "",
    time_limit: TimeLimit = "",
    budget: Budget = None,
    detach: Detach = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Train a model on a dataset; follows the job until it has ended."""

    async def work(session: Session) -> None:
        jobs = session.client.training
        wanted = await asked(
            session,
            dataset,
            model,
            name,
            epochs,
            batch,
            imgsz,
            settings,
            pretrained,
            best,
            preset,
            priority,
            after,
            time_limit,
            budget,
            tensorboard=tensorboard,
            gpus=gpus,
            nodes=nodes,
            launcher=launcher,
        )

        async def create(request_id: str) -> training_job_pb2.TrainingJob:
            return await jobs.create(**wanted, request_id=request_id)

        with session.pending("train", **wanted) as pending:
            job = await following.begin(session, pending, create, jobs.get)
            if note := without_effect(job.spec.overrides):
                session.progress.say(note)
            if detach:
                session.show(training_job_service_pb2.CreateTrainingJobResponse(training_job=job), lambda: output.write(short(job.name)))
                return
            session.progress.say(f"job {short(job.name)}{_expected(job)}")
            job = await following.follow(session, jobs, job, pending)
        session.show(training_job_service_pb2.GetTrainingJobResponse(training_job=job), lambda: trained(job))

    run(work, as_json=as_json, directory=directory)


def _expected(job: training_job_pb2.TrainingJob) -> str:
    return f": expected to train for {duration_text(seconds_of(job.estimate.expected_duration))}" if job.HasField("estimate") else ""


_ENDS = {
    training_job_pb2.EARLY_STOP_TIME_LIMIT: ", as many as its time limit allowed",
    training_job_pb2.EARLY_STOP_BUDGET: ", as many as its budget allowed",
    training_job_pb2.EARLY_STOP_NO_IMPROVEMENT: ", the last ones without improvement",
}


def trained(job: training_job_pb2.TrainingJob) -> None:
    """A training that ended well, for people."""
    progress = job.training_progress
    together = f", {progress.processes} processes together" if progress.processes > 1 else ""
    ended = _ENDS.get(job.early_stop, "")
    output.write(f"{short(job.model_version)}: trained for {progress.epoch} epochs on {progress.device or 'cpu'}{together}{ended}")
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


async def initial_model(session: Session, text: str, *, pushes: bool = True) -> _Initial:
    """What ``--model`` means, as an argument of the client's ``create``."""
    kind, value = what_to_start_from(text)
    if kind == "model_yaml":
        return {"model_yaml": value}
    if kind == "architecture":
        return {"architecture": value}
    if kind == "weights" and not pushes and await _known(session, Path(value)) is None and (name := architecture_of(Path(value))):
        return {"architecture": name}
    return {"model_version": await weights_version(session, text)}


def may_begin_with(model: str, pretrained: str) -> None:
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


async def weights_version(session: Session, text: str) -> str:
    """The model version that a weight file or a reference means; a file is pushed where its bytes are not known."""
    kind, value = what_to_start_from(text)
    if kind == "weights":
        return await _known(session, Path(value)) or await _pushed(session, Path(value))
    return (await session.client.models.get_version(value)).name


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
    take = "give FILE.yaml, FILE.pt, or the name of a model"
    if _PUBLISHED.fullmatch(str(path)):
        take = f"where you mean the weights that Ultralytics publishes, `yard model fetch {path}` gets them, and then {path.stem} is the model's name; else {take}"
    return local(Reason.FILE_NOT_FOUND, f"there is no file {path}; {take}", {"path": str(path)})


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


async def _known(session: Session, path: Path) -> str | None:
    """The model version with the file's bytes, where there is one under the model named after the file's stem."""
    source = open_source(path)
    digest = await source.sha256(following.transfer(session, source.name))
    found = await session.client.models.find_content(_model_id(path), digest)
    return found.name if found is not None else None


async def _pushed(session: Session, path: Path) -> str:
    """The model version with the file's bytes, pushed under the model named after the file's stem."""
    pushed = await push_file(session, open_source(path), _model_id(path))
    session.progress.say(f"pushed {path.name} as {short(pushed.name)}")
    return pushed.name


def _model_id(path: Path) -> str:
    """A model's id for a file: its stem, what an id may not hold replaced by '-'."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).lstrip("._-")[:63] or "model"
