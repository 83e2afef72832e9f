"""``yard job``: imports, trainings, exports, comparisons and searches under one noun."""

from __future__ import annotations

import asyncio
import codecs
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from visionyard.cli import following, output
from visionyard.cli.bringing_in import imported
from visionyard.cli.comparison import evaluated
from visionyard.cli.export import exported
from visionyard.cli.options import AsJson, Directory, JobId, To, example
from visionyard.cli.session import Session, run
from visionyard.cli.training import trained
from visionyard.cli.tuning_results import tuned
from visionyard.cli.watched_curves import WatchedCurves
from visionyard.client import AsyncClient
from visionyard.client.errors import ClientError, local
from visionyard.client.jobs import FINISHED, AsyncJobs, by_short_id, ended_well
from visionyard.client.references import short
from visionyard.dataset.v1 import import_job_service_pb2
from visionyard.export.v1 import export_job_service_pb2
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.errors import Code, Reason
from visionyard.training.v1 import evaluation_job_service_pb2, training_job_service_pb2, tuning_job_service_pb2

app = typer.Typer(help="Jobs of any kind: imports, trainings, exports, comparisons, searches.", no_args_is_help=True)


class Kind(StrEnum):
    """What ``--kind`` takes."""

    IMPORT = "import"
    TRAIN = "train"
    EXPORT = "export"
    COMPARE = "compare"
    TUNE = "tune"


@dataclass(frozen=True)
class KindOfJob:
    """What is done with jobs of a kind.

    Attributes:
        collection: In resource names.
        field: Of the messages that hold such a job.
        calls: The client's calls.
        get_response: The message that ``show`` prints; takes the job by ``field``.
        cancel_response: The message that ``cancel`` prints.
        list_response: The message that ``list`` prints.
        result: Prints what came of it, for people.
        shows_all_along: Whether there is something to print before it has ended well.
    """

    collection: str
    field: str
    calls: Callable[[AsyncClient], AsyncJobs[Any]]
    get_response: type[Message]
    cancel_response: type[Message]
    list_response: type[Message]
    result: Callable[[Any], None]
    shows_all_along: bool = False


KINDS = {
    Kind.IMPORT: KindOfJob(
        "importJobs",
        "import_job",
        lambda client: client.imports,
        import_job_service_pb2.GetImportJobResponse,
        import_job_service_pb2.CancelImportJobResponse,
        import_job_service_pb2.ListImportJobsResponse,
        imported,
    ),
    Kind.TRAIN: KindOfJob(
        "trainingJobs",
        "training_job",
        lambda client: client.training,
        training_job_service_pb2.GetTrainingJobResponse,
        training_job_service_pb2.CancelTrainingJobResponse,
        training_job_service_pb2.ListTrainingJobsResponse,
        trained,
    ),
    Kind.EXPORT: KindOfJob(
        "exportJobs",
        "export_job",
        lambda client: client.exports,
        export_job_service_pb2.GetExportJobResponse,
        export_job_service_pb2.CancelExportJobResponse,
        export_job_service_pb2.ListExportJobsResponse,
        exported,
    ),
    Kind.COMPARE: KindOfJob(
        "evaluationJobs",
        "evaluation_job",
        lambda client: client.evaluations,
        evaluation_job_service_pb2.GetEvaluationJobResponse,
        evaluation_job_service_pb2.CancelEvaluationJobResponse,
        evaluation_job_service_pb2.ListEvaluationJobsResponse,
        evaluated,
    ),
    Kind.TUNE: KindOfJob(
        "tuningJobs",
        "tuning_job",
        lambda client: client.tuning,
        tuning_job_service_pb2.GetTuningJobResponse,
        tuning_job_service_pb2.CancelTuningJobResponse,
        tuning_job_service_pb2.ListTuningJobsResponse,
        tuned,
        shows_all_along=True,
    ),
}


async def find(session: Session, text: str) -> tuple[KindOfJob, Any]:
    """The job that an id, a part of one or a resource name means, and its kind.

    Raises:
        ClientError: NOT_FOUND (JOB_NOT_FOUND), INVALID_ARGUMENT (INVALID_FIELD) where several fit.
    """
    if "/" in text:
        kind = next((kind for kind in KINDS.values() if f"/{kind.collection}/" in text), None)
        if kind is None:
            raise local(Reason.INVALID_NAME, f"{text!r} is not the name of a job; `yard job list` shows them", {"name": text})
        return kind, await kind.calls(session.client).get(text)
    failure = await _first_that_has_it(session, text)
    if not isinstance(failure, ClientError):
        return failure
    if failure.code not in {Code.NOT_FOUND, Code.INVALID_ARGUMENT}:
        raise failure
    lists = await asyncio.gather(*(kind.calls(session.client).list() for kind in KINDS.values()))
    kinds = {job.name: kind for kind, found in zip(KINDS.values(), lists, strict=True) for job in found}
    name = by_short_id(list(kinds), text)
    return kinds[name], await kinds[name].calls(session.client).get(name)  # a list leaves out an import's report


async def _first_that_has_it(session: Session, text: str) -> tuple[KindOfJob, Any] | ClientError:
    """Asks all services at once for a job with this very id, so that one that is away does not matter; the gravest error where none has it."""

    async def ask(kind: KindOfJob) -> tuple[KindOfJob, Any] | ClientError:
        try:
            return kind, await kind.calls(session.client).get(text)
        except ClientError as error:
            return error

    tasks = [asyncio.create_task(ask(kind)) for kind in KINDS.values()]
    worst: ClientError | None = None
    try:
        for done in asyncio.as_completed(tasks):
            answer = await done
            if not isinstance(answer, ClientError):
                return answer
            if worst is None or worst.code is Code.NOT_FOUND:
                worst = answer
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return worst or local(Reason.JOB_NOT_FOUND, f"there is no job {text!r}", {"name": text})


@app.command("list", epilog=example("yard job list", "yard job list --kind train --json"))
def list_(
    kind: Annotated[Kind | None, typer.Option("--kind", help="Jobs of this kind alone.")] = None,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """List jobs, newest first."""

    async def work(session: Session) -> None:
        chosen = [KINDS[kind]] if kind else list(KINDS.values())
        lists = await asyncio.gather(*(k.calls(session.client).list() for k in chosen))
        document: dict[str, Any] = {}
        for k, jobs in zip(chosen, lists, strict=True):
            document.update(output.message_json(k.list_response(**{f"{k.field}s": jobs})))
        rows = [
            (job, next(name for name, known in KINDS.items() if known is k)) for k, jobs in zip(chosen, lists, strict=True) for job in jobs
        ]
        rows.sort(key=lambda row: row[0].create_time.ToNanoseconds(), reverse=True)
        cells = [(short(job.name), name.value, state_of(job), _about(job), output.time(job.create_time)) for job, name in rows]
        session.show_document(document, lambda: output.table(("ID", "KIND", "STATE", "ABOUT", "CREATED"), cells, empty="no jobs"))

    run(work, as_json=as_json, directory=directory)


def state_of(job: Any) -> str:
    """A job's state for people."""
    return output.enum_word(job_pb2.JobState.Name(job.status.state), "JOB_STATE_")


def _about(job: Any) -> str:
    spec = job.spec
    if job.DESCRIPTOR.name == "ImportJob":
        return f"{spec.source_name} to {short(spec.dataset)}"
    if job.DESCRIPTOR.name == "TuningJob":
        return f"{short(spec.training.model)} on {short(spec.training.dataset_version)}, {spec.trials} trials"
    if job.DESCRIPTOR.name == "TrainingJob":
        return f"{short(spec.model)} on {short(spec.dataset_version)}"
    if job.DESCRIPTOR.name == "EvaluationJob":
        return f"{short(spec.first_model_version)} and {short(spec.second_model_version)} on {short(spec.dataset_version)}"
    return short(spec.model_version)


@app.command("show", epilog=example("yard job show 7f3k", "yard job show projects/default/trainingJobs/0uvm2k1c47f3kq9a --json"))
def show(job: JobId, as_json: AsJson = False, directory: Directory = None) -> None:
    """Show a job: what it does, how far it is, what came of it."""

    async def work(session: Session) -> None:
        kind, found = await find(session, job)
        session.show(kind.get_response(**{kind.field: found}), lambda: _shown(kind, found))

    run(work, as_json=as_json, directory=directory)


def _shown(kind: KindOfJob, job: Any) -> None:
    status = job.status
    step = following.running_step(job)
    rows: list[tuple[str, object]] = [
        ("job", job.name),
        ("about", _about(job)),
        ("state", state_of(job)),
        ("attempt", status.attempt or ""),
    ]
    if status.state not in FINISHED:
        rows += [
            ("place in queue", status.queue_position or ""),
            ("progress", ", ".join(p for p in (step.what, step.amount(), step.detail) if p)),
        ]
    rows += [
        ("created", output.time(job.create_time)),
        ("started", output.time(status.start_time)),
        ("ended", output.time(status.end_time)),
        ("error", status.error.message),
    ]
    output.fields(rows)
    if status.state == job_pb2.JOB_STATE_SUCCEEDED or kind.shows_all_along:
        kind.result(job)


@app.command("watch", epilog=example("yard job watch 7f3k"))
def watch(job: JobId, as_json: AsJson = False, directory: Directory = None) -> None:
    """Follow a job until it has ended, a training with its curves; with --json one line a snapshot. Exits 1 where it did not end well."""

    async def work(session: Session) -> None:
        kind, found = await find(session, job)
        show_progress = following.JobProgress(session)
        curves = WatchedCurves(session) if found.DESCRIPTOR.name == "TrainingJob" and not session.as_json else None
        try:
            async for snapshot in kind.calls(session.client).watch(found.name):
                found = snapshot.job
                if session.as_json:
                    output.write_json(output.message_json(snapshot.response), line=True)
                    continue
                if curves is not None:
                    await curves.follow(found)
                show_progress(snapshot)
        except asyncio.CancelledError:
            following.say_it_goes_on(session, found)
            raise
        ended_well(found)
        if curves is not None:
            curves.leave()
        if not session.as_json:
            kind.result(found)

    run(work, as_json=as_json, directory=directory)


@app.command("logs", epilog=example("yard job logs 7f3k", "yard job logs 7f3k -f"))
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Print what the workers of a training or comparison printed so far; with --json one line a part."""

    async def work(session: Session) -> None:
        _, found = await find(session, job)
        calls = session.client.evaluations if found.DESCRIPTOR.name == "EvaluationJob" else session.client.training
        if calls is session.client.training:
            only_training(found, "and comparisons keep a log")
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        async for part in calls.logs(found.name, follow=follow):
            if session.as_json:
                output.write_json(output.message_json(part), line=True)
            else:
                sys.stdout.write(decoder.decode(part.data))
                sys.stdout.flush()

    run(work, as_json=as_json, directory=directory)


def only_training(job: Any, what: str) -> None:
    """Refuses a job that is none of training's; ``what`` is the end of a sentence about those.

    Raises:
        ClientError: INVALID_ARGUMENT (INVALID_FIELD).
    """
    if job.DESCRIPTOR.name != "TrainingJob":
        raise local(
            Reason.INVALID_FIELD, f"{short(job.name)} is no training job, and only these {what}; `yard job show {short(job.name)}` tells its result", {"field": "id"}
        )  # fmt: skip


@app.command("cancel", epilog=example("yard job cancel 7f3k"))
def cancel(job: JobId, as_json: AsJson = False, directory: Directory = None) -> None:
    """Cancel a job: at once where it waits, else its worker stops soon."""

    async def work(session: Session) -> None:
        kind, found = await find(session, job)
        cancelled = await kind.calls(session.client).cancel(found.name)
        session.show(
            kind.cancel_response(**{kind.field: cancelled}), lambda: output.write(f"{short(cancelled.name)}: {state_of(cancelled)}")
        )

    run(work, as_json=as_json, directory=directory)


@app.command("download", epilog=example("yard job download 7f3k --to ./run"))
def download(job: JobId, to: To, as_json: AsJson = False, directory: Directory = None) -> None:
    """Download the files that a training job has made so far: best.pt, last.pt, results.csv, args.yaml, plots."""

    async def work(session: Session) -> None:
        _, found = await find(session, job)
        only_training(found, "make files")
        folder = to.expanduser()
        files = await session.client.training.list_files(found.name)
        await session.client.training.download(
            found.name, folder, lambda path, d, total: session.progress.bytes(f"downloading {path}", d, total)
        )
        listed = output.message_json(training_job_service_pb2.ListJobFilesResponse(files=files))
        rows = [(folder / f.path, output.size(f.size_bytes)) for f in files]
        session.show_document(
            {"name": found.name, "directory": str(folder), **listed},
            lambda: output.table(("FILE", "SIZE"), rows, right=frozenset({1}), empty="no files yet"),
        )

    run(work, as_json=as_json, directory=directory)
