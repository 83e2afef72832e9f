"""Options and arguments that several commands share, and how an example gets into the help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as one JSON document, fields named as in the protos.")]
Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir", metavar="DIR", help="State directory of the embedded stack; else VISIONYARD_HOME, else ~/.local/share/visionyard."
    ),
]
Detach = Annotated[bool, typer.Option("--detach", help="Return at once; the job goes on.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")]
To = Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to write into; made where it is not there.")]
DatasetVersion = Annotated[str, typer.Argument(metavar="NAME[@V]", help="A dataset; without a version the newest.")]
ModelVersion = Annotated[str, typer.Argument(metavar="MODEL[@V]", help="A model; without a version the newest.")]
JobId = Annotated[
    str, typer.Argument(metavar="ID", help="A job of any kind: its id, the id's beginning or end where that is unique, or its whole name.")
]


def above_zero(amount: float | None) -> float | None:
    """Checks an option that takes an amount; typer's own ``min`` would take 0."""
    if amount is not None and not amount > 0:
        raise typer.BadParameter(f"{amount:g} is no amount above 0")
    return amount


def example(*lines: str) -> str:
    """The epilogue of a command's help: what to type."""
    return "\n\n".join(["Example:", *(f"  {line}" for line in lines)])
