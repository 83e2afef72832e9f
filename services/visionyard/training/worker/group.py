"""A training by several processes, as the job's worker leads it: it starts them, hears of a cancellation in their place, and ends them all with the first that dies.

Their rank 0 stores each epoch and reports it, as a worker that trains alone does. They do the epochs only: when the last one is in the bucket the worker goes on alone,
like one that took the job over then.
"""

from __future__ import annotations

from typing import Protocol

from visionyard.kit.jobs.context import JobContext
from visionyard.kit.jobs.lease import Crashed, JobCancelled, Preempted
from visionyard.training.processes import Launcher
from visionyard.training.spec import TrainingSpec
from visionyard.training.worker.ranks import Ended, local_ranks

_LOOK_S = 0.2
_PATIENCE_S, _PATIENCE_CANCELLED_S = 3.0, 20.0
"""What the processes get to stop. Shorter than the grace of the worker itself, which is long only where a job is cancelled."""


class Group(Protocol):
    """The processes of a training, on one machine or several."""

    def wait(self, seconds: float) -> Ended | None:
        """Waits for the end of the first machine's processes, at most so long; None where all go on."""

    def stop(self, patience_s: float) -> None:
        """Asks them all to stop, gives them so long, and ends what is left."""


def trains_together(spec: TrainingSpec) -> bool:
    """Whether processes of their own train, not the worker itself."""
    return spec.processes > 1 or spec.launcher == Launcher.RAY.value


def train_together(context: JobContext, spec: TrainingSpec) -> None:
    """Has the epochs trained that are not in the bucket yet.

    Raises:
        YardError: a process says what went wrong.
        Crashed: a process or a machine was lost; whoever takes the job up goes on behind the last epoch in the bucket.
        JobCancelled, Preempted, LeaseLost: the job must stop.
    """
    context.report("starting")
    context.flush_report()  # from here on rank 0 reports
    group, patience_s = _start(context, spec), _PATIENCE_S
    try:
        while (ended := group.wait(_LOOK_S)) is None:
            context.check()
    except JobCancelled:
        patience_s = _PATIENCE_CANCELLED_S
        raise
    finally:
        group.stop(patience_s)
    context.check()
    context.catch_up()
    if ended.error is not None:
        raise ended.error
    if ended.code and context.asked_for_room:
        raise Preempted  # at the end of an epoch rank 0 did what it was asked for
    if ended.code or not is_trained(context):
        raise Crashed(f"one of the {spec.processes} processes that train together has died (torchrun ended with {ended.code})")


def is_trained(context: JobContext) -> bool:
    """Whether the last epoch is in the bucket."""
    return bool((context.job.pointers.get("checkpoint") or {}).get("ended"))


def _start(context: JobContext, spec: TrainingSpec) -> Group:
    if spec.launcher == Launcher.RAY.value:
        from visionyard.training.worker.ray_group import RayGroup  # noqa: PLC0415 - imports ray, which only clusters need

        return RayGroup(context, spec)
    return local_ranks(str(context.job.name), context.job.attempt, spec.processes, context.scratch)
