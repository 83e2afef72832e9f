"""``yard preset``: ways to train that the project keeps under names."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from google.protobuf import json_format

from visionyard.cli import output
from visionyard.cli.durations import duration_option, parse_duration, seconds_of
from visionyard.cli.options import AsJson, Directory, example
from visionyard.cli.session import Session, run
from visionyard.cli.training import BatchSize, BestMetric, Epochs, Gpus, ImageSize, Settings, TensorBoard, TimeLimit, parse_overrides
from visionyard.client.references import short
from visionyard.training.v1 import preset_pb2, preset_service_pb2

app = typer.Typer(help="Presets, ways to train for `yard train --preset`: save, list, show, delete.", no_args_is_help=True)
PresetName = Annotated[str, typer.Argument(metavar="NAME", help="A preset: see `yard preset list`.")]


@app.command("save", epilog=example("yard preset save small --epochs 50 --imgsz 320 --set mosaic=0.5 --best recall"))
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the preset is called; one of that name is replaced.")],
    epochs: Epochs = None,
    batch: BatchSize = None,
    imgsz: ImageSize = None,
    settings: Settings = None,
    gpus: Gpus = None,
    best: BestMetric = "",
    time_limit: TimeLimit = "",
    tensorboard: TensorBoard = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Save options of `yard train` under a name; what a training says itself goes before them."""
    overrides = parse_overrides(settings or [])
    time_limit_s = parse_duration(time_limit, "--time-limit") if time_limit else 0.0

    async def work(session: Session) -> None:
        saved = await session.client.presets.save(
            name,
            epochs=epochs or 0,
            batch_size=batch or 0,
            image_size_px=imgsz or 0,
            overrides=overrides,
            best_metric=best,
            tensorboard=bool(tensorboard),
            gpus=gpus or 0,
            time_limit_s=time_limit_s,
        )
        session.show(
            preset_service_pb2.SavePresetResponse(preset=saved),
            lambda: output.write(f"{short(saved.name)}: {_options(saved)}; `yard train --preset {short(saved.name)}` takes them"),
        )

    run(work, as_json=as_json, directory=directory)


def _options(preset: preset_pb2.Preset) -> str:
    """What a preset holds, as options of ``yard train``."""
    numbers = (("--epochs", preset.epochs), ("--batch", preset.batch_size), ("--imgsz", preset.image_size_px), ("--gpus", preset.gpus))
    settings = sorted(json_format.MessageToDict(preset.overrides).items())
    words = [
        *(f"{option} {value}" for option, value in numbers if value),
        *(f"--set {key}={_value(value)}" for key, value in settings),
        *([f"--best {preset.best_metric}"] if preset.best_metric else []),
        *([f"--time-limit {duration_option(seconds_of(preset.time_limit))}"] if preset.HasField("time_limit") else []),
        *(["--tensorboard"] if preset.tensorboard else []),
    ]
    return " ".join(words)


def _value(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a Struct has no other numbers
    return value if isinstance(value, str) else json.dumps(value)


@app.command("list", epilog=example("yard preset list"))
def list_(as_json: AsJson = False, directory: Directory = None) -> None:
    """List the presets of the project."""

    async def work(session: Session) -> None:
        presets = await session.client.presets.list()
        rows = [(short(p.name), _options(p), output.time(p.update_time)) for p in presets]
        session.show(
            preset_service_pb2.ListPresetsResponse(presets=presets),
            lambda: output.table(("PRESET", "OPTIONS", "CHANGED"), rows, empty="no presets"),
        )

    run(work, as_json=as_json, directory=directory)


@app.command("show", epilog=example("yard preset show small --json"))
def show(name: PresetName, as_json: AsJson = False, directory: Directory = None) -> None:
    """Show a preset."""

    async def work(session: Session) -> None:
        found = await session.client.presets.get(name)
        rows = [("preset", short(found.name)), ("options", _options(found)), ("changed", output.time(found.update_time))]
        session.show(preset_service_pb2.GetPresetResponse(preset=found), lambda: output.fields(rows))

    run(work, as_json=as_json, directory=directory)


@app.command("delete", epilog=example("yard preset delete small"))
def delete(name: PresetName, as_json: AsJson = False, directory: Directory = None) -> None:
    """Take a preset away; trainings that were made with it stay as they are."""

    async def work(session: Session) -> None:
        await session.client.presets.delete(name)
        session.show(preset_service_pb2.DeletePresetResponse(), lambda: output.write(f"{short(name)}: deleted"))

    run(work, as_json=as_json, directory=directory)
