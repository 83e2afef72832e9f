"""``yard estimate``: how long a training would take, and what it would cost, on every machine that is known."""

from __future__ import annotations

from visionyard.cli import output
from visionyard.cli.durations import duration_text, seconds_of
from visionyard.cli.machines import machine_text, price_text
from visionyard.cli.options import AsJson, Directory
from visionyard.cli.session import Session, run
from visionyard.cli.training import (
    After,
    BatchSize,
    BestMetric,
    Budget,
    Epochs,
    Gpus,
    ImageSize,
    LaunchedBy,
    Nodes,
    PresetName,
    PretrainedWeights,
    Priority,
    Settings,
    StartModel,
    TargetModel,
    TensorBoard,
    TimeLimit,
    TrainingData,
    asked,
)
from visionyard.training.v1 import machine_pb2, training_job_pb2, training_job_service_pb2, training_report_pb2

_BASES = {
    machine_pb2.ESTIMATE_BASIS_ROUGH: "a rough guess: nothing was measured there",
    machine_pb2.ESTIMATE_BASIS_SCALED: "other trainings there, scaled",
    machine_pb2.ESTIMATE_BASIS_SAME: "such trainings there",
}


def estimate(
    dataset: TrainingData,
    model: StartModel,
    name: TargetModel = "",
    epochs: Epochs = None,
    batch: BatchSize = None,
    imgsz: ImageSize = None,
    settings: Settings = None,
    gpus: Gpus = None,
    nodes: Nodes = None,
    launcher: LaunchedBy = None,
    pretrained: PretrainedWeights = "",
    best: BestMetric = "",
    tensorboard: TensorBoard = False,
    preset: PresetName = "",
    priority: Priority = 0,
    after: After = "",
    time_limit: TimeLimit = "",
    budget: Budget = None,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Estimate a training's time and cost on every machine measured so far; takes what `yard train` takes, and queues nothing."""

    async def work(session: Session) -> None:
        wanted = await asked(
            session,
            dataset,
            model,
            name,
            epochs,
            batch,
            imgsz,
            settings,
            pretrained,
            best,
            preset,
            priority,
            after,
            time_limit,
            budget,
            tensorboard=tensorboard,
            gpus=gpus,
            nodes=nodes,
            launcher=launcher,
            pushes=False,
        )
        found = await session.client.training.estimate(**wanted)
        session.show(found, lambda: _shown(found))

    run(work, as_json=as_json, directory=directory)


def cost_text(amount: float, price: machine_pb2.Price) -> str:
    """A cost for people; empty where there is no price."""
    return f"{amount:.2f} {price.currency}" if price.currency else ""


def expected_rows(job: training_job_pb2.TrainingJob) -> list[tuple[str, object]]:
    """When a training that has not ended is expected to begin and to end, for people."""
    progress = job.training_progress
    return [("expected start", output.time(progress.expected_start_time)), ("expected end", output.time(progress.expected_end_time))]


def spent_rows(job: training_job_pb2.TrainingJob | training_report_pb2.TrainingReport) -> list[tuple[str, object]]:
    """What a training, or the one of a report, was expected to take and has taken, for people."""
    expected, cost = job.estimate, job.cost
    seconds = seconds_of(cost.training_time)
    money = f", {cost.amount:.2f} {cost.currency}" if cost.currency else ""
    rows: list[tuple[str, object]] = []
    if job.HasField("estimate"):
        priced = cost_text(expected.expected_cost, expected.machine.price)
        rows.append(("estimated", ", ".join(part for part in (duration_text(seconds_of(expected.expected_duration)), priced) if part)))
    return [*rows, ("trained for", f"{duration_text(seconds)}{money}" if seconds else "")]


def _shown(found: training_job_service_pb2.EstimateTrainingResponse) -> None:
    rows = [
        (
            machine_text(one.machine),
            duration_text(seconds_of(one.expected_duration)) if not one.unfit_reason else "",
            cost_text(one.expected_cost, one.machine.price) if not one.unfit_reason else "",
            price_text(one.machine.price),
            f"{one.past_error_ratio:.0%} of {one.past_estimate_count}" if one.past_estimate_count else "",
            f"cannot run it: it {one.unfit_reason}" if one.unfit_reason else _BASES.get(one.basis, ""),
        )
        for one in found.estimates
    ]
    output.table(("MACHINE", "TIME", "COST", "PRICE", "PAST ERROR", "RESTS ON"), rows, right=frozenset({1, 2}))
