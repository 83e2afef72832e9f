"""``yard queue`` and ``yard job resume``: when trainings get a slot, and how an ended one goes on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from visionyard.cli import output
from visionyard.cli.following import running_step
from visionyard.cli.jobs import app as jobs_app
from visionyard.cli.jobs import find, only_training, state_of
from visionyard.cli.options import AsJson, Directory, JobId, example
from visionyard.cli.session import Session, run
from visionyard.client.references import short
from visionyard.training.v1 import training_job_service_pb2


def queue(as_json: AsJson = False, directory: Directory = None) -> None:
    """Show the trainings that run or wait, in the order in which they get slots."""

    async def work(session: Session) -> None:
        found = await session.client.training.queue()
        session.show(found, lambda: _shown(found))

    run(work, as_json=as_json, directory=directory)


def _shown(found: training_job_service_pb2.GetTrainingQueueResponse) -> None:
    output.table(
        ("PLACE", "ID", "STATE", "PRIORITY", "ABOUT", "PROGRESS", "STARTS", "ENDS"),
        [
            (_place(job), short(job.name), state_of(job), job.scheduling.priority, _about(job), _progress(job), _starts(job), _ends(job))
            for job in found.training_jobs
        ],
        right=frozenset({0, 3}),
        empty="no training runs or waits",
    )
    for slot in found.closed_slots:
        free, wanted = output.size(slot.free_memory_bytes), output.size(slot.wanted_memory_bytes)
        output.write(f"\n{slot.device} gets no training: others hold its memory, {free} are free and {wanted} must be")
    if found.end_command_waits_for:
        output.write(f"\nthe command at the end waits: {found.end_command_waits_for}")
    if found.others_running or found.others_waiting:
        output.write(f"\nof other projects {found.others_running} run and {found.others_waiting} wait")


def _place(job: Any) -> object:
    return job.status.queue_position or ""


def _starts(job: Any) -> str:
    return output.time(job.status.start_time) or output.time(job.training_progress.expected_start_time)


def _ends(job: Any) -> str:
    return output.time(job.training_progress.expected_end_time)


def _about(job: Any) -> str:
    return f"{short(job.spec.model)} on {short(job.spec.dataset_version)}"


def _progress(job: Any) -> str:
    if job.status.queue_position:
        return f"after {short(job.scheduling.after)}" if job.scheduling.after else ""
    step = running_step(job)
    room = f"makes room for {short(job.yields_to)}" if job.yields_to else ""
    return ", ".join(part for part in (step.what, step.amount(), room) if part)


@jobs_app.command("resume", epilog=example("yard job resume 7f3k", "yard job resume 7f3k --epochs 200", "yard job resume 7f3k --from 21"))
def resume(
    job: JobId,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, max=100_000, help="How many epochs it is to have in all; else as many as before.")
    ] = None,
    from_epoch: Annotated[
        int | None,
        typer.Option(
            "--from", metavar="EPOCH", min=1, max=100_000, help="Go on behind this kept epoch (--set save_period=N), not the last one."
        ),
    ] = None,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Queue an ended training once more: it goes on behind its last stored epoch, or one that it has kept."""

    async def work(session: Session) -> None:
        _, found = await find(session, job)
        only_training(found, "can be resumed")
        resumed = await session.client.training.resume(found.name, epochs=epochs or 0, from_epoch=from_epoch or 0)
        behind = f" behind epoch {resumed.training_progress.epoch}" if resumed.training_progress.epoch else ""
        session.show(
            training_job_service_pb2.ResumeTrainingJobResponse(training_job=resumed),
            lambda: output.write(
                f"{short(resumed.name)}: {state_of(resumed)}, goes on{behind}; `yard job watch {short(resumed.name)}` follows it"
            ),
        )

    run(work, as_json=as_json, directory=directory)
