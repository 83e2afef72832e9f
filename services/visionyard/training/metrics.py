"""What Prometheus sees of training, beside the gRPC metrics of the server kit."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import ParamSpec

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from visionyard.kit.errors import YardError
from visionyard.kit.jobs.model import JobState
from visionyard.training.gpus import GpuState
from visionyard.training.inspection import WeightFacts

P = ParamSpec("P")


class Metrics:
    """The room's metrics, registered once.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._inspections = Counter(
            "visionyard_training_inspections_total", "Pushed weight files by outcome.", ["outcome"], registry=registry
        )
        self._inspection_seconds = Histogram(
            "visionyard_training_inspection_seconds",
            "Seconds that opening a pushed weight file took.",
            buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 180),
            registry=registry,
        )
        self._slots = Gauge("visionyard_training_slots", "Trainings that can run at once on this machine.", ["device"], registry=registry)
        self._gpu_utilisation = Gauge(
            "visionyard_training_gpu_utilisation_ratio",
            "Share of the last moment in which the GPU computed, for whomever, 0 to 1.",
            ["gpu"],
            registry=registry,
        )
        self._gpu_memory = Gauge(
            "visionyard_training_gpu_memory_bytes", "The GPU's memory, used by whomever and free.", ["gpu", "state"], registry=registry
        )
        self._unfinished = Gauge(
            "visionyard_training_jobs_unfinished", "Training jobs that have not ended, by state.", ["state"], registry=registry
        )
        self._notifications = Counter(
            "visionyard_training_notifications_total",
            "Tries to send a message to a notification channel, by the channel's kind and outcome (delivered, retried, given_up).",
            ["kind", "outcome"],
            registry=registry,
        )
        self.unfinished(())

    def notified(self, kind: str, outcome: str) -> None:
        """Counts a try to send a message."""
        self._notifications.labels(kind, outcome).inc()

    def slots(self, slots: Iterable[dict[str, str]]) -> None:
        """Notes the machine's slots."""
        tally = Tally("gpu" if slot.get("CUDA_VISIBLE_DEVICES") else "cpu" for slot in slots)
        for device in ("gpu", "cpu"):
            self._slots.labels(device).set(tally[device])

    def gpu(self, gpu: str, state: GpuState | None) -> None:
        """Notes how a GPU is; forgets it where that cannot be told."""
        if state is None or state.utilisation_ratio is None:
            with suppress(KeyError):
                self._gpu_utilisation.remove(gpu)
        else:
            self._gpu_utilisation.labels(gpu).set(state.utilisation_ratio)
        for name, value in (("free", state.free_bytes), ("used", state.total_bytes - state.free_bytes)) if state else ():
            self._gpu_memory.labels(gpu, name).set(value)
        if state is None:
            for name in ("free", "used"):
                with suppress(KeyError):
                    self._gpu_memory.remove(gpu, name)

    def unfinished(self, states: Iterable[JobState]) -> None:
        """Notes the states of all jobs that have not ended."""
        tally = Tally(states)
        for state in JobState:
            if not state.finished:
                self._unfinished.labels(state.value.lower()).set(tally[state])

    def watched(self, inspect: Callable[P, WeightFacts]) -> Callable[P, WeightFacts]:
        """An inspection or conversion that is counted and timed."""

        def inspect_and_count(*args: P.args, **kwargs: P.kwargs) -> WeightFacts:
            began, outcome = time.monotonic(), "failed"
            try:
                facts = inspect(*args, **kwargs)
                outcome = "accepted"
            except YardError as error:
                outcome = error.reason.name.lower()
                raise
            else:
                return facts
            finally:
                self._inspections.labels(outcome).inc()
                self._inspection_seconds.observe(time.monotonic() - began)

        return inspect_and_count
