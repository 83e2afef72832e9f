"""How many trainings run at once: one for each GPU that has room, found without torch; on the CPU as many as configured."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from visionyard.training.gpus import GpuState, gpu_state, gpu_uuids

_log = logging.getLogger(__name__)
DEVICES = "CUDA_VISIBLE_DEVICES"
_GIB = 1 << 30


def training_slots(cpu_slots: int, visible: str | None = None) -> list[dict[str, str]]:
    """The environment of each slot's worker.

    Args:
        cpu_slots: How many slots there are without a GPU.
        visible: The service's own ``CUDA_VISIBLE_DEVICES``, which is respected; None to read the environment.
    """
    wanted = os.environ.get(DEVICES) if visible is None else visible
    gpus = gpu_uuids()
    if wanted is not None:
        # As CUDA reads it: the list ends at the first entry that is no device.
        chosen: list[str] = []
        for entry in (part.strip() for part in wanted.split(",")):
            known = entry.isdigit() and int(entry) < len(gpus)
            if not known and not any(gpu.startswith(entry) for gpu in gpus if entry):
                break
            chosen.append(entry)
        gpus = chosen if gpus else []
    if gpus:
        return [{DEVICES: gpu} for gpu in gpus]
    return [{DEVICES: ""} for _ in range(cpu_slots)]


@dataclass(frozen=True)
class ClosedSlot:
    """A slot that gets no job now, though none of ours runs in it: other programs hold its GPU's memory.

    Attributes:
        device: The GPU, for people.
        free_bytes: How much of its memory is free.
        wanted_bytes: How much must be.
    """

    device: str
    free_bytes: int
    wanted_bytes: int

    def __str__(self) -> str:
        return f"{self.device} has {self.free_bytes / _GIB:.1f} GiB free; it gets a training when {self.wanted_bytes / _GIB:.1f} GiB are"


class FreeMemory:
    """Lets jobs only onto GPUs of which enough memory is free, measured when a slot is about to be given: other programs may use them too.

    Args:
        slots: The environment of each slot's worker.
        ratio: The share of a GPU's memory that must be free, 0 to 1.
        state: Tells how a GPU is.
    """

    def __init__(self, slots: Sequence[dict[str, str]], ratio: float, state: Callable[[str], GpuState | None] = gpu_state) -> None:
        self._slots = slots
        self._ratio = ratio
        self._state = state
        self._closed: dict[int, ClosedSlot] = {}

    @property
    def closed(self) -> list[ClosedSlot]:
        """The slots that :meth:`open` left out last."""
        return list(self._closed.values())

    def open(self, free: Sequence[int]) -> list[int]:
        """Those of the slots without a job that may get one. A GPU that cannot be asked may. Blocks for a moment.

        Args:
            free: The numbers of the slots without a job.
        """
        closed = {slot: found for slot in free if (found := self._look(slot)) is not None}
        for slot in closed.keys() - self._closed.keys():
            _log.warning("%s", closed[slot])
        for slot in self._closed.keys() - closed.keys():
            _log.info("%s may get trainings again", self._closed[slot].device)
        self._closed = closed
        return [slot for slot in free if slot not in closed]

    def _look(self, slot: int) -> ClosedSlot | None:
        device = self._slots[slot].get(DEVICES, "")
        state = self._state(device) if device else None
        if state is None or state.free_bytes >= self._ratio * state.total_bytes:
            return None
        return ClosedSlot(f"GPU {slot} ({state.name})", state.free_bytes, int(self._ratio * state.total_bytes))
