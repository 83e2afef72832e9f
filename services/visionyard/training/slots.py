"""How many trainings run at once: one for each GPU, found without torch; on the CPU as many as configured."""

from __future__ import annotations

import logging
import os

import pynvml

_log = logging.getLogger(__name__)


def training_slots(cpu_slots: int, visible: str | None = None) -> list[dict[str, str]]:
    """The environment of each slot's worker.

    Args:
        cpu_slots: How many slots there are without a GPU.
        visible: The service's own ``CUDA_VISIBLE_DEVICES``, which is respected; None to read the environment.
    """
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    gpus = _gpus()
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
        return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus]
    return [{"CUDA_VISIBLE_DEVICES": ""} for _ in range(cpu_slots)]


def _gpus() -> list[str]:
    """The UUIDs of the machine's NVIDIA GPUs by NVML; none where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        _log.info("no NVIDIA GPU: %s", error)
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        uuids = [pynvml.nvmlDeviceGetUUID(handle) for handle in handles]
    except pynvml.NVMLError as error:
        _log.warning("the GPUs could not be listed: %s", error)
        return []
    finally:
        pynvml.nvmlShutdown()
    return [uuid.decode() if isinstance(uuid, bytes) else str(uuid) for uuid in uuids]
