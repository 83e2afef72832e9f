"""``yard tune``."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from visionyard.cli import following, output
from visionyard.cli.durations import parse_duration
from visionyard.cli.options import AsJson, Detach, Directory, above_zero
from visionyard.cli.pages import writable
from visionyard.cli.session import Session, run
from visionyard.cli.training import (
    Gpus,
    LaunchedBy,
    Nodes,
    PretrainedWeights,
    dataset_id,
    initial_model,
    may_begin_with,
    parse_overrides,
    weights_version,
)
from visionyard.cli.tuning_progress import TuningProgress
from visionyard.cli.tuning_results import tuned, write_page, write_picture
from visionyard.client.references import References, short
from visionyard.client.search_space import read_search_space
from visionyard.training.v1 import tuning_job_pb2, tuning_job_service_pb2


def tune(
    dataset: Annotated[str, typer.Argument(metavar="DATASET[@V]", help="What to train on; without a version the newest.")],
    model: Annotated[str, typer.Option("--model", metavar="MODEL", help="What every trial starts from, as for `yard train`.")],
    space: Annotated[
        Path,
        typer.Option(
            "--space", metavar="FILE", help="What is searched: a YAML file of arguments, each with {min, max, log} or a list of values."
        ),
    ],
    trials: Annotated[int, typer.Option("--trials", min=1, max=1000, help="How many trials begin.")],
    name: Annotated[
        str, typer.Option("--name", metavar="MODEL", help="The model that gets a version of the best trial; else named after the dataset.")
    ] = "",
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, max=100_000, help="Epochs of the last rung; 100 if not given.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, max=65_536, help="Images a step; Ultralytics' default is 16.")] = None,
    imgsz: Annotated[
        int | None, typer.Option("--imgsz", min=32, max=8192, help="The image's side in pixels; Ultralytics' default is 640.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A training argument that all trials have; may be given several times."),
    ] = None,
    metric: Annotated[
        str, typer.Option("--metric", metavar="NAME", help="What counts, such as mAP50; else mAP50-95, or top-1 accuracy of a classifier.")
    ] = "",
    eta: Annotated[
        int, typer.Option("--eta", min=2, max=10, help="Of so many trials one goes on to the next rung, and trains so many times as long.")
    ] = 3,
    min_epochs: Annotated[int, typer.Option("--min-epochs", min=1, max=100_000, help="How many epochs the first rung has at least.")] = 1,
    gpus: Gpus = None,
    nodes: Nodes = None,
    launcher: LaunchedBy = None,
    pretrained: PretrainedWeights = "",
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Of what is drawn.")] = 0,
    time_limit: Annotated[
        str,
        typer.Option(
            "--time-limit", metavar="TIME", help="How long the trials may train, all together: 2h, 90m; then the best so far counts."
        ),
    ] = "",
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget",
            metavar="AMOUNT",
            callback=above_zero,
            help="What the trials may cost, all together, at the machine's own price; likewise.",
        ),
    ] = None,
    parallel: Annotated[
        int | None,
        typer.Option("--parallel", min=1, max=1000, help="How many trials run or wait at once; else as many as there are slots, and one."),
    ] = None,
    priority: Annotated[int, typer.Option("--priority", min=-1000, max=1000, help="Trials of a higher one get slots first.")] = 0,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with curves and table to FILE at the end.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE.svg", help="Write the curves to FILE at the end, as SVG.")] = None,
    detach: Detach = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Search for good training arguments: short trials, of which the better ones are trained on; follows the search until it has ended."""
    overrides = parse_overrides(settings or [])
    limit = timedelta(seconds=parse_duration(time_limit, "--time-limit")) if time_limit else None
    if plot is not None and plot.suffix.lower() != ".svg":
        raise typer.BadParameter(f"{plot.name!r} does not end in .svg, and an SVG is what is written", param_hint="--plot")

    async def work(session: Session) -> None:
        files = {"html": html and writable(html), "plot": plot and writable(plot, "plot")}
        parameters = read_search_space(space)
        jobs = session.client.tuning
        target = name or dataset_id(session, dataset)
        References(session.client.project).resource("models", target)
        version = (await session.client.datasets.get_version(dataset)).name
        may_begin_with(model, pretrained)
        initial = await initial_model(session, model)
        processes = {"gpus": gpus, "nodes": nodes, "launcher": launcher.value if launcher else ""}
        begun_with = {"pretrained": await weights_version(session, pretrained) if pretrained else ""}
        training: dict[str, Any] = {
            "model": target, "epochs": epochs or 0, "batch_size": batch or 0, "image_size_px": imgsz or 0, "overrides": overrides, **initial,
            **{key: value for key, value in {**processes, **begun_with}.items() if value},
        }  # fmt: skip
        search: dict[str, Any] = {
            "trials": trials, "eta": eta, "min_epochs": min_epochs, "seed": seed, "metric": metric, "time_limit": limit, "max_parallel_trials": parallel or 0,
            "priority": priority, "budget": budget or 0.0,
        }  # fmt: skip

        async def create(request_id: str) -> tuning_job_pb2.TuningJob:
            return await jobs.create(version, parameters, request_id=request_id, **search, **training)

        written = [parameter.SerializeToString(deterministic=True).hex() for parameter in parameters]
        with session.pending("tune", dataset=version, space=written, **search, **training) as pending:
            job = await following.begin(session, pending, create, jobs.get)
            if detach:
                response = tuning_job_service_pb2.CreateTuningJobResponse(tuning_job=job)
                session.show(response, lambda: output.write(short(job.name)))
                return
            session.progress.say(f"job {short(job.name)}: {plan_of(job)}")
            with TuningProgress(session.progress) as show:
                try:
                    job = await jobs.wait(job.name, show)
                except asyncio.CancelledError:
                    pending.end()
                    following.say_it_goes_on(session, job)
                    raise
        if files["html"]:
            write_page(job, files["html"])
        if files["plot"]:
            write_picture(job, files["plot"])
        session.show(tuning_job_service_pb2.GetTuningJobResponse(tuning_job=job), lambda: tuned(job))

    run(work, as_json=as_json, directory=directory)


def plan_of(job: tuning_job_pb2.TuningJob) -> str:
    """The rungs in a sentence: ``9 trials to 3 epochs, 3 to 9, 1 to 27``."""
    first, *others = [(rung.trials, rung.epochs) for rung in job.rungs]
    return ", ".join([f"{first[0]} trials to {first[1]} epochs", *(f"{count} to {epochs}" for count, epochs in others)])
