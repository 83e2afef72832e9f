"""What Prometheus sees of imports and downloads, beside the gRPC metrics of the server kit."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from visionyard.kit.jobs.model import JobState


class Metrics:
    """The room's metrics, registered once.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._created = Counter(
            "visionyard_dataset_import_jobs_created_total", "Import jobs asked for, repeated requests included.", registry=registry
        )
        self._downloaded = Counter(
            "visionyard_dataset_downloaded_bytes_total", "Bytes of dataset versions sent to clients.", registry=registry
        )
        self._unfinished = Gauge(
            "visionyard_dataset_import_jobs_unfinished", "Import jobs that have not ended, by state.", ["state"], registry=registry
        )
        self.unfinished(())

    def created(self) -> None:
        """Counts a request for a job."""
        self._created.inc()

    def downloaded(self, size: int) -> None:
        """Counts bytes sent."""
        self._downloaded.inc(size)

    def unfinished(self, states: Iterable[JobState]) -> None:
        """Notes the states of all jobs that have not ended."""
        tally = Tally(states)
        for state in JobState:
            if not state.finished:
                self._unfinished.labels(state.value.lower()).set(tally[state])
