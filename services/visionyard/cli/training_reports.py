"""``yard job report``: what a training has come to, for people, for programs, and as a page for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf import duration_pb2

from visionyard.cli import output
from visionyard.cli.comparison import compared
from visionyard.cli.estimate import spent_rows
from visionyard.cli.jobs import app, find
from visionyard.cli.options import AsJson, Directory, JobId, example
from visionyard.cli.pages import writable
from visionyard.cli.session import Session, run
from visionyard.cli.tuning_results import tuned, write_page
from visionyard.client.errors import ClientError, local
from visionyard.client.references import short
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.errors import Reason
from visionyard.training.v1 import (
    evaluation_job_service_pb2,
    training_job_service_pb2,
    training_report_pb2,
    tuning_job_pb2,
    tuning_job_service_pb2,
)

__all__ = ["app", "report"]
_SHOWN_CLASSES, _SHOWN_IMAGES = 20, 10
_PHASES = {
    "start": "starting",
    "fetch": "fetching the dataset",
    "data": "waiting for batches",
    "training": "forward and backward",
    "validation": "validation",
    "saving": "saving and uploading",
}


@app.command("report", epilog=example("yard job report 7f3k", "yard job report 7f3k --html report.html"))
def report(
    job: JobId,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with curves and pictures to FILE, for a browser.")
    ] = None,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Report on a training, comparison or search: time by phase, best epoch, each false positive and negative, the trials; before its end what is known."""

    async def work(session: Session) -> None:
        _, found = await find(session, job)
        if found.DESCRIPTOR.name == "EvaluationJob":
            await _comparison(session, found.name, html)
            return
        if found.DESCRIPTOR.name == "TuningJob":
            _search(session, found, html)
            return
        if found.DESCRIPTOR.name != "TrainingJob":
            raise _no_training(found)
        if html is not None:
            target = writable(html)
            session.progress.say("drawing the page")
            _page_written(session, found.name, await session.client.training.report_page(found.name, target))
            return
        made = await session.client.training.report(found.name)
        session.show(training_job_service_pb2.GetTrainingReportResponse(report=made), lambda: _shown(made))

    run(work, as_json=as_json, directory=directory)


async def _comparison(session: Session, name: str, html: Path | None) -> None:
    """The report of a comparison."""
    if html is not None:
        target = await session.client.evaluations.report_page(name, writable(html))
        _page_written(session, name, target)
        return
    made = await session.client.evaluations.report(name)
    session.show(evaluation_job_service_pb2.GetEvaluationReportResponse(report=made), lambda: compared(made))


def _search(session: Session, job: tuning_job_pb2.TuningJob, html: Path | None) -> None:
    """The report of a search: its trials, which its job holds all along."""
    if html is not None:
        target = writable(html)
        write_page(job, target)
        _page_written(session, job.name, target)
        return
    session.show(tuning_job_service_pb2.GetTuningJobResponse(tuning_job=job), lambda: tuned(job))


def _page_written(session: Session, name: str, target: Path) -> None:
    document = {"name": name, "file": str(target), "size_bytes": target.stat().st_size}
    session.show_document(document, lambda: output.write(f"{target}: {output.size(target.stat().st_size)}; open it in a browser"))


def _no_training(job: Any) -> ClientError:
    """The refusal, which names the command that tells more of such a job."""
    instead = f"yard job show {short(job.name)}"
    if job.DESCRIPTOR.name == "ImportJob":
        made = job.dataset_version.name
        instead = f"yard dataset report {short(made)}" if made else instead
    return local(
        Reason.INVALID_FIELD,
        f"{short(job.name)} is no training, comparison or search, and only these have this report; `{instead}` tells what came of it",
        {"field": "id"},
    )


def _shown(report: training_report_pb2.TrainingReport) -> None:
    state = output.enum_word(job_pb2.JobState.Name(report.state), "JOB_STATE_")
    ended_well = report.state == job_pb2.JOB_STATE_SUCCEEDED
    gpu = report.gpu
    output.fields(
        [
            ("job", report.name),
            ("state", state if ended_well else f"{state}; this is what is known so far"),
            ("dataset", short(report.dataset_version)),
            ("model", short(report.model_version) if report.model_version else ""),
            ("trained on", report.device),
            ("epochs", f"{report.epoch} of {report.epochs}" if report.epochs else report.epoch),
            ("best epoch", report.best_epoch or ""),
            ("attempts", report.attempts if report.attempts > 1 else ""),
            ("start to end", time_of(report.elapsed) if report.HasField("elapsed") else ""),
            *spent_rows(report),
            ("images/s", f"{report.images_per_second:.3g}" if report.images_per_second else ""),
            ("GPU in use", f"{gpu.utilisation_ratio:.0%}" if gpu.HasField("utilisation_ratio") else ""),
            ("GPU memory", f"{output.size(gpu.peak_memory_bytes)} of {output.size(gpu.memory_bytes)}" if report.HasField("gpu") else ""),
        ]
    )
    seconds = {phase: getattr(report.phase_times, phase).ToMilliseconds() / 1000 for phase in _PHASES}
    if total := sum(seconds.values()):
        output.write("")
        rows = [(name, time_of(getattr(report.phase_times, phase)), f"{seconds[phase] / total:.1%}") for phase, name in _PHASES.items()]
        output.table(("PHASE", "TIME", "SHARE"), rows, right=frozenset({1, 2}))
    if report.HasField("findings"):
        findings_shown(report.findings)


def findings_shown(findings: training_report_pb2.Findings) -> None:
    """What a validation has found, for people."""
    output.write("")
    output.fields([(key, f"{value:.4g}") for key, value in sorted(findings.metrics.items())])
    output.write("")
    frequent = sorted(findings.classes, key=lambda row: -row.label_count)[:_SHOWN_CLASSES]
    rows = [
        (
            row.name,
            row.label_count,
            row.false_positives,
            row.false_negatives,
            f"{row.precision:.3f}",
            f"{row.recall:.3f}",
            f"{row.ap50:.3f}" if row.HasField("ap50") else "",
        )
        for row in frequent
    ]
    headers = ("CLASS", "LABELS", "FALSE POSITIVES", "FALSE NEGATIVES", "PRECISION", "RECALL", "AP50")
    output.table(headers, rows, right=frozenset(range(1, 7)))
    if len(findings.classes) > len(frequent):
        output.write(f"and {len(findings.classes) - len(frequent)} classes with fewer labels")
    if not findings.images:
        return
    output.write("")
    worst = findings.images[:_SHOWN_IMAGES]
    cells = [(entry.image, entry.false_positive_count, entry.false_negative_count) for entry in worst]
    output.table(("IMAGE", "FALSE POSITIVES", "FALSE NEGATIVES"), cells, right=frozenset({1, 2}))
    if findings.wrong_image_count > len(worst):
        output.write(f"and {findings.wrong_image_count - len(worst)} images more; --json lists them, --html shows them")


def time_of(duration: duration_pb2.Duration) -> str:
    """A time for people: ``4.2 s``, ``3:05 min``, ``2:07 h``."""
    seconds = duration.ToMilliseconds() / 1000
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours}:{minutes_left:02} h" if hours else f"{minutes}:{rest:02} min"
