"""The command tree of ``yard``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
import typer.main

from visionyard import __version__
from visionyard.cli import comparison, curation, deployments, machines, notifications, presets, queue, stack, storage, training_reports
from visionyard.cli.estimate import estimate
from visionyard.cli.export import export
from visionyard.cli.options import AsJson, example
from visionyard.cli.output import write, write_json
from visionyard.cli.predict import predict
from visionyard.cli.training import train
from visionyard.cli.tuning import tune

_UNWRAPPED = 10_000
"""Columns of help without a terminal, where nothing is wrapped."""


class _NoCommand(typer.BadParameter):
    """``yard`` alone; wrong usage, without the words about a parameter."""

    def format_message(self) -> str:
        return self.message


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    as_json: AsJson = False,
) -> None:
    """Visionyard: from a labelled archive to boxes over gRPC."""
    if version:
        if as_json:
            write_json({"version": __version__})
        else:
            write(f"yard {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        if not as_json:
            sys.stderr.write(f"{context.get_help()}\n\n")
        raise _NoCommand("yard needs a command", ctx=context)


def tree() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        name="yard",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"], **({} if sys.stdout.isatty() else {"terminal_width": _UNWRAPPED})},
        epilog=example("yard up --detach", "yard dataset import cones.zip --name cones", "yard train cones --model yolov8n.yaml"),
    )
    app.callback(invoke_without_command=True)(_root)
    app.command("up", epilog=example("yard up --detach"))(stack.up)
    app.command("down", epilog=example("yard down"))(stack.down)
    app.command("status", epilog=example("yard status --json"))(stack.status)
    app.add_typer(curation.app, name="dataset", epilog=example("yard dataset import cones.zip --name cones"))
    app.command(
        "train",
        epilog=example(
            "yard train cones --model yolov8n --epochs 50", "yard train cones@2 --model yolov8n.yaml --set optimizer=AdamW --set lr0=0.002"
        ),
    )(train)
    app.command("estimate", epilog=example("yard estimate cones --model yolov8n --epochs 50"))(estimate)
    app.command(
        "tune",
        epilog=example(
            "yard tune cones --model yolov8n --space space.yaml --trials 27 --epochs 27",
            "yard tune cones --model yolov8n --space space.yaml --trials 9 --time-limit 2h --html tuned.html",
        ),
    )(tune)
    app.command("queue", epilog=example("yard queue"))(queue.queue)
    app.command("export", epilog=example("yard export cones --format onnx"))(export)
    app.add_typer(training_reports.app, name="job", epilog=example("yard job list"))
    app.add_typer(comparison.app, name="model", epilog=example("yard model list"))
    app.command("deploy", epilog=example("yard deploy cones --name cones", "yard deploy cones@2 --name cones --letterbox square"))(
        deployments.deploy
    )
    app.add_typer(deployments.app, name="deployment", epilog=example("yard deployment list"))
    app.command(
        "predict",
        epilog=example("yard predict cones a.jpg b.jpg --save ./boxes", "yard predict cones a.jpg --conf 0.5 --classes cone --json"),
    )(predict)
    app.add_typer(machines.app, name="machine", epilog=example("yard machine list"))
    app.add_typer(presets.app, name="preset", epilog=example("yard preset list"))
    app.add_typer(notifications.app, name="notify", epilog=example("yard notify list"))
    app.add_typer(storage.app, name="storage", epilog=example("yard storage show"))
    app.command("sample", epilog=example("yard sample ./sample"))(stack.sample)
    return app


def build() -> Any:
    """The command, ready to be called with arguments."""
    return typer.main.get_command(tree())
