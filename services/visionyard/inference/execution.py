"""How models are run: by which backend, where, with how many copies and threads."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class TritonBackend(enum.StrEnum):
    """Which of Triton's backends runs an artifact."""

    PYTHON = "python"
    """The Python backend with ONNX Runtime inside: what the embedded Triton has."""
    ONNXRUNTIME = "onnxruntime"
    """Triton's own ONNX Runtime backend: what Triton's containers have."""


class Device(enum.StrEnum):
    """Where a model runs. It never falls from the one to the other by itself."""

    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True)
class Execution:
    """How models are run.

    Attributes:
        backend: Which of Triton's backends.
        device: Where.
        instances: How many copies of a model run at once (on each GPU); 1 or more.
        threads: Threads of one instance on the CPU; 1 or more.
        max_batch_size: How many images of one shape Triton may run together; 1 means none, which is best on a CPU.
    """

    backend: TritonBackend
    device: Device
    instances: int
    threads: int
    max_batch_size: int
