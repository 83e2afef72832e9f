"""The machine's NVIDIA GPUs as NVML tells of them: without torch, and without a CUDA context, which would take memory of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pynvml

_log = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class GpuState:
    """A GPU at this moment.

    Attributes:
        name: For people: "NVIDIA H100 80GB HBM3".
        free_bytes: Memory that nobody uses, in bytes; what other programs hold is not in it.
        total_bytes: All of its memory, in bytes.
        utilisation_ratio: The share of the last moments (by NVML a sixth of a second to a second) in which a kernel ran, 0 to 1; None where it is not told, as of a MIG part.
    """

    name: str
    free_bytes: int
    total_bytes: int
    utilisation_ratio: float | None


def gpu_uuids() -> list[str]:
    """The UUIDs of the GPUs, in NVML's order; none where there is no driver."""
    return _asked(lambda: [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in _handles()], [], "the GPUs could not be listed")


def gpu_state(device: str) -> GpuState | None:
    """How a GPU is; None where it cannot be told.

    Args:
        device: As an entry of ``CUDA_VISIBLE_DEVICES``: an index, or the beginning of a UUID.
    """

    def read() -> GpuState | None:
        handle = _handle(device)
        if handle is None:
            return None
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return GpuState(_text(pynvml.nvmlDeviceGetName(handle)), int(memory.free), int(memory.total), _utilisation(handle))

    return _asked(read, None, f"GPU {device} could not be asked for its memory")


def _handles() -> list[Any]:
    return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]


def _handle(device: str) -> Any | None:
    if device.isdigit():
        return pynvml.nvmlDeviceGetHandleByIndex(int(device))
    if device.startswith("MIG-"):
        return pynvml.nvmlDeviceGetHandleByUUID(device)
    return next((handle for handle in _handles() if _text(pynvml.nvmlDeviceGetUUID(handle)).startswith(device)), None)


def _utilisation(handle: Any) -> float | None:
    try:
        return int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
    except pynvml.NVMLError:
        return None


def _asked(question: Callable[[], ResultT], without: ResultT, trouble: str) -> ResultT:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        _log.debug("no NVIDIA GPU: %s", error)
        return without
    try:
        return question()
    except pynvml.NVMLError as error:
        _log.warning("%s: %s", trouble, error)
        return without
    finally:
        pynvml.nvmlShutdown()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
