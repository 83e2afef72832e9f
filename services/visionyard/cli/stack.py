"""``yard up``, ``down``, ``status`` and ``sample``: the embedded stack."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionyard.cli import output
from visionyard.cli.options import AsJson, Directory
from visionyard.cli.progress import ProgressDisplay, Step
from visionyard.client.errors import ClientError, local
from visionyard.kit.errors import Code, Reason

if TYPE_CHECKING:
    from visionyard.local.stack import Up

_END_COMMAND = "VISIONYARD_END_COMMAND"
_KEEP_LOCAL = "VISIONYARD_KEEP_LOCAL"


def up(
    detach: Annotated[
        bool, typer.Option("--detach", help="Return once everything is healthy; the stack goes on in the background.")
    ] = False,
    any_port: Annotated[bool, typer.Option("--any-port", help="Take the next free ports where the usual ones are in use.")] = False,
    end_command: Annotated[
        str,
        typer.Option(
            "--end-command",
            metavar="COMMAND",
            help="Run this once all trainings have ended and their results are safe, say: sudo poweroff.",
        ),
    ] = "",
    keep_local: Annotated[
        bool, typer.Option("--keep-local", help="This disk outlives the machine: results on it are safe from --end-command.")
    ] = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Start the embedded stack: object store, Triton and the four services on this machine. Without --detach Ctrl-C stops it."""
    from visionyard.local import machine, stack  # noqa: PLC0415 - only these commands need the local extra

    _at_the_end(end_command, keep_local=keep_local)

    def ready(found: Up) -> None:
        if found.already and (end_command or keep_local):
            raise stack.StackError(
                "the stack is up already, so it does not know of --end-command and --keep-local: run `yard down`, then this again; trainings go on"
            )
        document = {"state_dir": str(found.state_dir), "already": found.already, "processes": found.processes}
        if as_json:
            output.write_json(document)
            return
        output.write(f"the stack in {found.state_dir} is {'already ' if found.already else ''}up")
        _processes(found.processes)
        if os.environ.get("VISIONYARD_TRITON_DEVICE", "cpu") == "cpu" and machine.gpus():
            output.write(
                "training uses the GPU; predictions of the embedded stack run on the CPU, since its Triton's ONNX Runtime has no CUDA"
            )

    code = 0
    with ProgressDisplay() as progress:
        progress.update(Step("starting the stack"))
        try:
            code = stack.up(directory, any_port=any_port, detach=detach, on_ready=ready)
        except stack.StackError as error:
            raise _failed(error) from error
    raise typer.Exit(code)


def _at_the_end(command: str, *, keep_local: bool) -> None:
    """Has the training service told by its variables what to do at the end."""
    if keep_local and not (command or os.environ.get(_END_COMMAND)):
        raise local(
            Reason.INVALID_FIELD, "--keep-local says what --end-command need not care for: give that too", {"field": "--keep-local"}
        )
    if command:
        os.environ[_END_COMMAND] = command
    if keep_local:
        os.environ[_KEEP_LOCAL] = "true"


def down(as_json: AsJson = False, directory: Directory = None) -> None:
    """Stop the embedded stack: services drain, workers give their jobs back; nothing is left running."""
    from visionyard.local import stack  # noqa: PLC0415 - only these commands need the local extra
    from visionyard.local.state import resolve_state_dir  # noqa: PLC0415 - likewise

    try:
        stopped = stack.down(directory)
    except stack.StackError as error:
        raise _failed(error) from error
    folder = str(resolve_state_dir(directory))
    if as_json:
        output.write_json({"state_dir": folder, "stopped": stopped})
    else:
        output.write(f"the stack in {folder} is down" if stopped else f"no stack was up in {folder}")


def status(as_json: AsJson = False, directory: Directory = None) -> None:
    """Show the stack's processes, versions, GPUs and disk."""
    from visionyard.local import stack  # noqa: PLC0415 - only these commands need the local extra

    found = stack.status(directory)
    if as_json:
        output.write_json(found)
        return
    output.write(f"the stack in {found['state_dir']} is {'up' if found['running'] else 'down; `yard up` starts it'}")
    _processes(found["processes"])
    disk = found["disk"]
    output.fields(
        [
            ("disk", f"{output.size(disk['free_bytes'])} of {output.size(disk['total_bytes'])} free"),
            *(("GPU", _gpu(gpu)) for gpu in found["gpus"]),
            ("versions", ", ".join(f"{name} {version}" for name, version in found["versions"].items())),
        ]
    )


def _gpu(gpu: dict[str, Any]) -> str:
    free, total = output.size(gpu["memory_free_bytes"]), output.size(gpu["memory_total_bytes"])
    return f"{gpu['name']}, {free} of {total} free, driver {gpu['driver_version']}"


def _processes(processes: Sequence[dict[str, Any]]) -> None:
    if processes:
        rows = [(p["name"], p["state"], p["pid"], p.get("address") or "", p.get("metrics_address") or "") for p in processes]
        output.table(("PROCESS", "STATE", "PID", "ADDRESS", "METRICS"), rows, right=frozenset({2}))


def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write; made where it is not there.")],
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Write a generated detection dataset to try things with: YOLO layout, photo-like noise, several classes."""
    del directory  # every command takes --dir; this one has no need of the stack
    from visionyard.local.sample import generate  # noqa: PLC0415 - only this command needs OpenCV

    target = folder.expanduser()
    with ProgressDisplay() as progress:
        try:
            counts = generate(target, on_image=lambda done, total: progress.update(Step("drawing pictures", done, total, "images")))
        except OSError as error:
            raise local(Reason.INVALID_FIELD, f"cannot write the sample: {error.strerror or error}", {"field": "DIR"}) from error
    if as_json:
        output.write_json({"directory": str(target), "splits": [{"name": name, "image_count": count} for name, count in counts.items()]})
    else:
        output.write(f"{sum(counts.values())} pictures in {target}; `yard dataset import {target} --name sample` imports them")


def _failed(error: Exception) -> ClientError:
    return ClientError(Code.FAILED_PRECONDITION, "STACK", str(error))
