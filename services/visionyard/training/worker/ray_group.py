"""A training on the nodes of a Ray cluster that is there already: its processes begin when all nodes are, and end with the first that is lost.

The job's worker is the driver. An actor on each node starts the ranks there with torchrun, as the worker does on its own machine. The settings, with the keys to the bucket, reach
the actors as arguments, so no page of Ray's shows them. https://docs.ray.io/en/latest/ray-core/scheduling/placement-group.html
"""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import suppress
from typing import Any, cast

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from visionyard.kit.config import PREFIX
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.jobs.lease import Crashed
from visionyard.kit.jobs.worker import SCRATCH_VARIABLE
from visionyard.training.config import TrainingSettings
from visionyard.training.spec import TrainingSpec
from visionyard.training.worker.ranks import Ended, Place
from visionyard.training.worker.ray_node import RayNode

_log = logging.getLogger(__name__)
_LOOK_S = 1.0
_AWAY_S = 3.0
_TELL_S = 3.0
"""What the other nodes get to say why, once one has ended without a reason."""
_ANSWER_S = 1.0
"""What the nodes get to say that their ranks have stopped."""
_PHASE = "waiting for Ray nodes"


class RayGroup:
    """The processes of a training on a cluster; all nodes are there when it is made.

    Args:
        context: The job.
        spec: What to train.

    Raises:
        YardError: CLUSTER_NOT_READY, the nodes were not there in time.
        Crashed: one was lost while the processes were started.
        JobCancelled, Preempted, LeaseLost: the job must stop.
    """

    def __init__(self, context: JobContext, spec: TrainingSpec) -> None:
        self._context = context
        self._settings = cast("TrainingSettings", context.settings)
        self._nodes, self._processes = max(1, spec.nodes), max(1, spec.gpus)
        device = "GPU" if self._settings.ray_device == "gpu" else "CPU"
        self._bundle = {device: float(self._processes)}
        self._until = time.monotonic() + self._settings.ray_wait_s
        self._placed: PlacementGroup | None = None
        self._actors: list[Any] = []
        self._runs: list[Any] = []
        try:
            self._connect()
            self._place()
            self._begin()
        except BaseException:
            self.stop(0.0)
            raise

    def _stop_if_asked(self) -> None:
        """As long as nothing is trained there is nothing to be lost, so it makes room at once."""
        self._context.check()
        self._context.make_room()

    def _connect(self) -> None:
        """Connects to the cluster, as soon as it answers."""
        # Nothing is told to Ray's makers, and a line is written as often as a rank writes it.
        os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"})
        ours = signal.getsignal(signal.SIGTERM)
        while True:
            self._context.report(_PHASE, 0, self._nodes, "nodes")
            self._stop_if_asked()
            try:
                ray.init(address=self._settings.ray_address, namespace="visionyard", log_to_driver=True, configure_logging=False)
            except (ConnectionError, RuntimeError, ValueError, RayError) as error:
                _log.warning("the Ray cluster at %s does not answer: %s", self._settings.ray_address, error)
                self._must_not_be_late(0)
                self._pause()
            else:
                return
            finally:
                signal.signal(signal.SIGTERM, ours)  # Ray sets its own, which leaves at once

    def _place(self) -> None:
        """Waits until each node has what its ranks take."""
        self._placed = placement_group([self._bundle] * self._nodes, strategy="STRICT_SPREAD")
        while not self._placed.wait(_LOOK_S):
            self._stop_if_asked()
            there = sum(self._fits(node) for node in ray.nodes())
            self._context.report(_PHASE, min(there, self._nodes), self._nodes, "nodes")
            self._must_not_be_late(there)

    def _fits(self, node: dict[str, Any]) -> bool:
        return bool(node["Alive"]) and all(node["Resources"].get(name, 0) >= amount for name, amount in self._bundle.items())

    def _must_not_be_late(self, there: int) -> None:
        if time.monotonic() > self._until:
            raise YardError(
                Reason.CLUSTER_NOT_READY,
                f"the Ray cluster at {self._settings.ray_address} did not give {self._nodes} nodes with {self._processes} {next(iter(self._bundle))} each within "
                f"{self._settings.ray_wait_s:.0f} s, and has {there} such nodes: see `ray status` there, then resume the job",
                {"address": self._settings.ray_address, "nodes": str(there)},
            )

    def _pause(self) -> None:
        end = time.monotonic() + _AWAY_S
        while time.monotonic() < end:
            self._stop_if_asked()
            time.sleep(0.1)

    def _begin(self) -> None:
        variables = {name: value for name, value in os.environ.items() if name.startswith(PREFIX) and name != SCRATCH_VARIABLE}
        if "GPU" not in self._bundle:
            variables["CUDA_VISIBLE_DEVICES"] = ""
        make = ray.remote(RayNode)
        for node in range(self._nodes):
            where = PlacementGroupSchedulingStrategy(self._placed, placement_group_bundle_index=node)
            taken = {"num_cpus": self._bundle.get("CPU", 0), "num_gpus": self._bundle.get("GPU", 0)}
            self._actors.append(make.options(scheduling_strategy=where, max_restarts=0, max_concurrency=2, **taken).remote(variables))
        address, port = self._answer(self._actors[0].meeting_point.remote())
        for actor in self._actors[1:]:
            self._answer(actor.meeting_point.remote())
        self._context.report("starting")
        self._context.flush_report()  # from here on rank 0 reports
        job = self._context.job
        self._runs = [
            actor.run.remote(str(job.name), job.attempt, Place(self._nodes, node, self._processes, address, port))
            for node, actor in enumerate(self._actors)
        ]

    def _answer(self, asked: Any) -> Any:
        while not ray.wait([asked], timeout=_LOOK_S)[0]:
            self._stop_if_asked()
        return _got(asked)

    def wait(self, seconds: float) -> Ended | None:
        """Waits for the end of all nodes' ranks, or of the first that fail, at most so long; None where they go on.

        Raises:
            Crashed: a node was lost.
        """
        ended, going = _waited(self._runs, seconds)
        failed = [end for end in ended if end.code]
        if failed and all(end.error is None for end in failed):
            more, _ = _waited(going, _TELL_S)
            failed += [end for end in more if end.error is not None]
        if failed:
            return next((end for end in failed if end.error is not None), failed[0])
        return None if going else Ended(0, None)

    def stop(self, patience_s: float) -> None:
        """Asks the ranks of all nodes to stop, gives them so long, ends what is left, and lets the cluster go."""
        if not ray.is_initialized():
            return
        with suppress(Exception):  # a node that is gone cannot be asked; what follows ends the rest
            stopping = [actor.stop.remote(patience_s) for actor in self._actors]
            if stopping:
                ray.wait(stopping, num_returns=len(stopping), timeout=patience_s + _ANSWER_S)
        with suppress(Exception):  # likewise
            for actor in self._actors:
                ray.kill(actor)
            if self._placed is not None:
                remove_placement_group(self._placed)
        ours = signal.getsignal(signal.SIGTERM)
        ray.shutdown()
        signal.signal(signal.SIGTERM, ours)


def _waited(runs: list[Any], seconds: float) -> tuple[list[Ended], list[Any]]:
    """How those ended that have ended until then, and those that go on."""
    if not runs:
        return [], []
    ready, going = ray.wait(runs, num_returns=len(runs), timeout=seconds)
    told = [_got(run) for run in ready]
    return [Ended(code, YardError.from_json(error) if error else None) for code, error in told], going


def _got(reference: Any) -> Any:
    """What an actor gives.

    Raises:
        Crashed: its node is lost.
    """
    try:
        return ray.get(reference)
    except RayError as error:
        raise Crashed(f"a Ray node was lost ({type(error).__name__})") from error
