"""``yard model compare``: two models on the same images, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionyard.cli import following, output
from visionyard.cli.fetching import app
from visionyard.cli.options import AsJson, Detach, Directory, example
from visionyard.cli.pages import writable
from visionyard.cli.session import Session, run
from visionyard.client.references import short
from visionyard.training.v1 import evaluation_job_pb2, evaluation_job_service_pb2, evaluation_report_pb2

__all__ = ["app", "compare"]
_SHOWN_IMAGES = 10


@app.command(
    "compare", epilog=example("yard model compare cones@1 cones@2 --data cones", "yard model compare a b --data cones --html ab.html")
)
def compare(
    first: Annotated[str, typer.Argument(metavar="MODEL[@V]", help="A model; without a version the newest.")],
    second: Annotated[str, typer.Argument(metavar="MODEL[@V]", help="Another one, or another version of it.")],
    data: Annotated[
        str, typer.Option("--data", metavar="DATASET[@V]", help="Whose images both are validated on; both must know its classes.")
    ],
    split: Annotated[str, typer.Option("--split", metavar="SPLIT", help="The images of this split: val, test or train.")] = "val",
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page with curves and pictures to FILE, for a browser.")
    ] = None,
    detach: Detach = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Validate two models on the same images: metrics, each false positive and negative, and where only one of them is right."""

    async def work(session: Session) -> None:
        jobs = session.client.evaluations
        target = writable(html) if html is not None else None
        one, two = [(await session.client.models.get_version(model)).name for model in (first, second)]
        version = (await session.client.datasets.get_version(data)).name

        async def create(request_id: str) -> evaluation_job_pb2.EvaluationJob:
            return await jobs.create(one, two, dataset=version, split=split, request_id=request_id)

        with session.pending("compare", first=one, second=two, data=version, split=split) as pending:
            job = await following.begin(session, pending, create, jobs.get)
            if detach:
                session.show(
                    evaluation_job_service_pb2.CreateEvaluationJobResponse(evaluation_job=job), lambda: output.write(short(job.name))
                )
                return
            session.progress.say(f"job {short(job.name)}")
            job = await following.follow(session, jobs, job, pending)
        report = await jobs.report(job.name)
        if target is not None:
            await jobs.report_page(job.name, target)
            session.progress.say(f"{target}: open it in a browser")
        session.show(evaluation_job_service_pb2.GetEvaluationReportResponse(report=report), lambda: compared(report))

    run(work, as_json=as_json, directory=directory)


def evaluated(job: evaluation_job_pb2.EvaluationJob) -> None:
    """A comparison that ended well, for people."""
    spec = job.spec
    output.fields(
        [
            ("compared", f"{short(spec.first_model_version)} and {short(spec.second_model_version)}"),
            ("on", f"{spec.split} of {short(spec.dataset_version)}"),
            ("report", f"yard job report {short(job.name)}"),
        ]
    )


def compared(report: evaluation_report_pb2.EvaluationReport) -> None:
    """What a comparison has found, for people."""
    models = (report.first, report.second)
    one, two = models
    names = [short(model.model_version) for model in models]
    output.write(f"on {one.findings.image_count} images of the {one.findings.split} split of {short(report.dataset_version)}\n")
    rows: list[tuple[str, ...]] = [
        (key, f"{value:.4f}", f"{two.findings.metrics[key]:.4f}", f"{two.findings.metrics[key] - value:+.4f}")
        for key, value in sorted(one.findings.metrics.items())
        if key in two.findings.metrics
    ]
    for field, name in (("false_positive_count", "false positives"), ("false_negative_count", "false negatives")):
        counts = [getattr(model.findings, field) for model in models]
        rows.append((name, *map(str, counts), f"{counts[1] - counts[0]:+d}"))
    rows.append(("images/s", *(f"{model.findings.images_per_second:.3g}" for model in models), ""))
    rows.append(("parameters", *(f"{model.parameter_count:,}" for model in models), ""))
    output.table(("", *names, "DIFFERENCE"), rows, right=frozenset({1, 2, 3}))
    output.write("")
    output.fields(
        [
            ("both right on", f"{report.both_right_count} images"),
            (f"only {names[0]} (the first)", f"{report.only_first_right_count} images"),
            (f"only {names[1]} (the second)", f"{report.only_second_right_count} images"),
            ("both wrong on", f"{report.both_wrong_count} images"),
        ]
    )
    differing = [("first", image) for image in report.only_first_right] + [("second", image) for image in report.only_second_right]
    if differing:
        output.write("")
        cells = [(image.image, which, image.false_positive_count, image.false_negative_count) for which, image in differing[:_SHOWN_IMAGES]]
        headers = ("IMAGE", "RIGHT IS THE", "FALSE POSITIVES OF THE OTHER", "FALSE NEGATIVES")
        output.table(headers, cells, right=frozenset({2, 3}))
        if len(differing) > len(cells):
            output.write(f"and {len(differing) - len(cells)} images more; --json lists them, --html shows them")
