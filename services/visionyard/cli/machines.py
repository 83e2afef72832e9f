"""``yard machine``: which machines trainings were measured on, and how measurements are carried from one to another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf import json_format

from visionyard.cli import output
from visionyard.cli.options import AsJson, Directory, example
from visionyard.cli.session import Session, run
from visionyard.client.errors import local
from visionyard.client.references import short
from visionyard.kit.errors import Reason
from visionyard.training.v1 import machine_pb2, machine_service_pb2

app = typer.Typer(help="Machines that trainings were measured on: list, export, import, price.", no_args_is_help=True)
_LARGEST_BYTES = 16 << 20
MachineId = Annotated[str, typer.Argument(metavar="ID", help="A machine: see `yard machine list`.")]


def price_text(price: machine_pb2.Price) -> str:
    """A price for people; empty for none."""
    rate = price.WhichOneof("rate")
    return f"{getattr(price, rate):g} {price.currency} {'an hour' if rate == 'per_hour' else 'a month'}" if rate else ""


def machine_text(machine: machine_pb2.Machine) -> str:
    """A machine for people."""
    return f"{machine.display_name} (this one)" if machine.own else machine.display_name


@app.command("list", epilog=example("yard machine list"))
def list_(as_json: AsJson = False, directory: Directory = None) -> None:
    """List the service's own machine and all others that trainings were measured on."""

    async def work(session: Session) -> None:
        found = await session.client.machines.list()
        rows = [
            (short(m.name), machine_text(m), price_text(m.price), m.measurement_count, output.time(m.last_measured_time)) for m in found
        ]
        session.show(
            machine_service_pb2.ListMachinesResponse(machines=found),
            lambda: output.table(("ID", "MACHINE", "PRICE", "MEASURED", "LAST"), rows, right=frozenset({3})),
        )

    run(work, as_json=as_json, directory=directory)


@app.command("export", epilog=example("yard machine export machines.json", "yard machine export rented.json --machine 1bd22a8214e7"))
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    machine: Annotated[
        list[str] | None, typer.Option("--machine", metavar="ID", help="Only this machine; may be given several times.")
    ] = None,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Write what was measured to a file, for `yard machine import` elsewhere; it names no project, dataset or job."""
    target = file.expanduser()

    async def work(session: Session) -> None:
        found = await session.client.machines.export(machine or ())
        try:
            target.write_text(json.dumps(output.message_json(found), indent=1), encoding="utf-8")
        except OSError as error:
            raise local(Reason.FILE_NOT_FOUND, f"cannot write {target}: {error.strerror}", {"path": str(target)}) from error
        names = [short(one.machine.name) for one in found.measured_machines]
        count = sum(len(one.measurements) for one in found.measured_machines)
        session.show_document(
            {"file": str(target), "machines": names, "measurement_count": count},
            lambda: output.write(f"{target}: {count} measurements of {len(names)} machines"),
        )

    run(work, as_json=as_json, directory=directory)


@app.command("import", epilog=example("yard machine import rented.json"))
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `yard machine export` wrote.")],
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Add what was measured elsewhere; doing so twice is no error."""
    measured = _read(file.expanduser())

    async def work(session: Session) -> None:
        machines = await session.client.machines.bring_in(measured.measured_machines)
        rows = [(short(m.name), machine_text(m), price_text(m.price), m.measurement_count) for m in machines]
        session.show(
            machine_service_pb2.ImportMachinesResponse(machines=machines),
            lambda: output.table(("ID", "MACHINE", "PRICE", "MEASURED"), rows, right=frozenset({3}), empty="the file holds no machine"),
        )

    run(work, as_json=as_json, directory=directory)


def _read(file: Path) -> machine_service_pb2.ExportMachinesResponse:
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise _not_exported(file, f"it is larger than {_LARGEST_BYTES} bytes")
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _not_exported(file, "it is not UTF-8 text") from error
    except OSError as error:
        raise local(Reason.FILE_NOT_FOUND, f"cannot read {file}: {error.strerror}", {"path": str(file)}) from error
    try:
        return json_format.Parse(text, machine_service_pb2.ExportMachinesResponse(), ignore_unknown_fields=True)
    except (json_format.ParseError, RecursionError) as error:
        raise _not_exported(file, str(error).splitlines()[0][:200]) from error


def _not_exported(file: Path, why: str) -> Exception:
    return local(Reason.INVALID_FIELD, f"{file} is none of what `yard machine export` writes: {why}", {"field": "file"})


@app.command(
    "price", epilog=example("yard machine price 1bd22a8214e7 --hourly 2.50", "yard machine price 1bd22a8214e7 --monthly 40 --currency USD")
)
def price(
    machine: MachineId,
    hourly: Annotated[float | None, typer.Option("--hourly", min=0, metavar="PRICE", help="What an hour costs.")] = None,
    monthly: Annotated[float | None, typer.Option("--monthly", min=0, metavar="PRICE", help="What a month costs.")] = None,
    currency: Annotated[str, typer.Option("--currency", help="Three letters, ISO 4217.")] = "EUR",
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Say what a machine costs; of the service's own machine, VISIONYARD_PRICE_PER_HOUR or _PER_MONTH says so."""
    if (hourly is None) == (monthly is None):
        raise typer.BadParameter("give --hourly or --monthly, and not both")
    wanted = machine_pb2.Price(currency=currency)
    if hourly is not None:
        wanted.per_hour = hourly
    if monthly is not None:
        wanted.per_month = monthly

    async def work(session: Session) -> None:
        found = await session.client.machines.set_price(machine, wanted)
        session.show(
            machine_service_pb2.SetMachinePriceResponse(machine=found),
            lambda: output.write(f"{short(found.name)}: {found.display_name}, {price_text(found.price)}"),
        )

    run(work, as_json=as_json, directory=directory)
