"""What Prometheus sees of inference, beside the gRPC metrics of the server kit."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The room's metrics, registered once.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._triton_up = Gauge("visionyard_inference_triton_up", "Whether Triton answered when last asked (0 or 1).", registry=registry)
        self._loads = Counter(
            "visionyard_inference_model_loads_total",
            "Models brought up in Triton, by outcome; repeated: lost by Triton, hence loaded again.",
            ["outcome"],
            registry=registry,
        )
        self._images = Counter("visionyard_inference_images_total", "Images, by outcome.", ["outcome"], registry=registry)
        self._phases = Histogram(
            "visionyard_inference_phase_seconds",
            "Where the time of an answered image went.",
            ["phase"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._waiting = Gauge("visionyard_inference_images_under_way", "Images taken in and not answered yet.", registry=registry)

    def triton_up(self, *, up: bool) -> None:
        """Notes whether Triton answers."""
        self._triton_up.set(up)

    def load(self, outcome: Literal["succeeded", "failed", "repeated"]) -> None:
        """Counts a model load."""
        self._loads.labels(outcome).inc()

    def image(self, outcome: Literal["answered", "refused", "failed"]) -> None:
        """Counts an image: answered, refused (its own fault, or too many at once) or failed (ours)."""
        self._images.labels(outcome).inc()

    def phases(self, decode_ms: float, queue_ms: float, compute_ms: float) -> None:
        """Notes where an answered image's time went, in milliseconds."""
        for phase, value in (("decode", decode_ms), ("queue", queue_ms), ("compute", compute_ms)):
            self._phases.labels(phase).observe(value / 1000)

    def under_way(self, count: int) -> None:
        """Notes how many images are under way."""
        self._waiting.set(count)
