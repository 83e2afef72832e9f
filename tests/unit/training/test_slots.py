"""Which slots a machine has, and which of them get a job: NVML is played, since a machine without a GPU must be able to run this."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pynvml
import pytest

from visionyard.training import gpus
from visionyard.training.gpus import GpuState, gpu_state, gpu_uuids
from visionyard.training.slots import ClosedSlot, FreeMemory, training_slots

GIB = 1 << 30


class Nvml:
    """Two GPUs."""

    UUIDS = ("GPU-aaaa-1", "GPU-bbbb-2")

    def __init__(self) -> None:
        self.free = [20 * GIB, 3 * GIB]
        self.opened = 0

    def nvmlInit(self) -> None:
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index > 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:
        return self.UUIDS[handle].encode()

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"NVIDIA {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(free=self.free[handle], total=24 * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        if handle:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(gpu=85)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    played = Nvml()
    for name in dir(played):
        if name.startswith("nvml"):
            monkeypatch.setattr(gpus.pynvml, name, getattr(played, name))
    return played


def test_a_machine_without_a_driver_has_the_slots_that_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(gpus.pynvml, "nvmlInit", refuse)
    assert training_slots(2, "") == [{"CUDA_VISIBLE_DEVICES": ""}] * 2
    assert gpu_uuids() == []
    assert gpu_state("0") is None


def test_the_state_of_a_gpu_by_index_and_by_uuid(nvml: Nvml) -> None:
    assert gpu_state("0") == GpuState("NVIDIA 0", 20 * GIB, 24 * GIB, 0.85)
    assert gpu_state("GPU-bb") == GpuState("NVIDIA 1", 3 * GIB, 24 * GIB, None)
    assert gpu_state("7") is None
    assert gpu_state("MIG-x") is None
    assert gpu_state("GPU-c") is None
    assert nvml.opened == 0


@pytest.mark.parametrize(
    ("visible", "expected"), [("1", ["1"]), ("GPU-b,0", ["GPU-b", "0"]), ("0,7,1", ["0"]), ("", []), ("GPU-aaaa-1", ["GPU-aaaa-1"])]
)
def test_visible_devices_are_read_as_cuda_reads_them(nvml: Nvml, visible: str, expected: list[str]) -> None:
    found = [slot["CUDA_VISIBLE_DEVICES"] for slot in training_slots(1, visible)]
    assert found == (expected or [""])


def test_a_gpu_whose_memory_others_hold_gets_no_job_until_it_is_free(nvml: Nvml, caplog: pytest.LogCaptureFixture) -> None:
    slots = [{"CUDA_VISIBLE_DEVICES": uuid} for uuid in nvml.UUIDS]
    memory = FreeMemory(slots, 0.5)
    with caplog.at_level(logging.INFO):
        assert memory.open([0, 1]) == [0]
        assert memory.open([0, 1]) == [0]
        assert memory.closed == [ClosedSlot("GPU 1 (NVIDIA 1)", 3 * GIB, 12 * GIB)]
        assert memory.open([0]) == [0]
        assert memory.closed == [], "a job of ours runs in it"
        nvml.free[1] = 12 * GIB
        assert memory.open([1]) == [1]
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "GPU 1 (NVIDIA 1) has 3.0 GiB free; it gets a training when 12.0 GiB are",
        "GPU 1 (NVIDIA 1) may get trainings again",
    ]


def test_what_cannot_be_measured_is_not_held_against_a_slot(nvml: Nvml) -> None:
    assert FreeMemory([{"CUDA_VISIBLE_DEVICES": ""}], 1.0).open([0]) == [0]
    assert FreeMemory([{"CUDA_VISIBLE_DEVICES": "MIG-x"}], 1.0).open([0]) == [0]
    assert FreeMemory([{"CUDA_VISIBLE_DEVICES": "1"}], 0.0).open([0]) == [0]
