"""What Prometheus sees of training, beside the gRPC metrics of the server kit."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class TrainingMetrics:
    """The room's metrics, registered once.

    Attributes:
        pushes: Pushed weight files by what became of them: ``accepted``, or the reason in lower case.
        inspection_seconds: How long opening a pushed weight file took.
        slots: How many trainings can run at once on this machine, by device: ``gpu`` or ``cpu``.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.pushes = Counter("visionyard_training_model_pushes", "Pushed weight files by outcome.", ["outcome"], registry=registry)
        self.inspection_seconds = Histogram(
            "visionyard_training_inspection_seconds",
            "Seconds that opening a pushed weight file took.",
            buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 180),
            registry=registry,
        )
        self.slots = Gauge("visionyard_training_slots", "Trainings that can run at once on this machine.", ["device"], registry=registry)
