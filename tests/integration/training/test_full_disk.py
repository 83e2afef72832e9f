"""A worker's disk that is full: the job fails with the reason, and goes on once there is room. On a small file system of its own, made where the system lets us."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shapes import RECIPE, publish_shapes

from conftest import PROJECT, Room
from visionyard.kit.errors import Reason
from visionyard.kit.jobs.model import Job, JobState
from visionyard.training.spec import TrainingSpec

SIZE_MB = 600
"""A dataset is only fetched where 256 MiB and more are left."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "none", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def _fill(folder: Path, left: int) -> Path:
    """Takes all the room but so many bytes."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            file.truncate(file.tell() - left)
    return ballast


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "left", [pytest.param(0, id="not a byte"), pytest.param(2_000_000, id="less than a checkpoint", marks=pytest.mark.long)]
)
async def test_a_full_disk_fails_the_job_with_the_reason_and_it_goes_on_once_there_is_room(
    room: Room, small_disk: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    room.work_dir = small_disk
    monkeypatch.setenv("VISIONYARD_WORK_DIR", str(small_disk))
    spec = TrainingSpec(
        publish_shapes(room.store),
        "projects/default/models/m",
        architecture="yolov8n.yaml",
        epochs=4,
        batch_size=8,
        image_size_px=64,
        overrides={**RECIPE, "plots": False},
    )
    name = room.trainings.create(PROJECT, spec, "").job.name
    jobs = room.trainings.jobs

    def epoch(job: Job) -> Any:
        return (job.pointers.get("checkpoint") or {}).get("epoch", 0)

    async with room.dispatching():
        await room.until(lambda: epoch(job := jobs.get(name)) >= 1 or job.state.finished, 240)
        ballast = _fill(small_disk, left)
        failed = await room.until(lambda: (job := jobs.get(name)).state.finished and job, 120)
        assert failed.state is JobState.FAILED
        assert (failed.error.reason, failed.attempt) == (Reason.DISK_FULL, 1)
        assert "free some" in failed.error.message
        await room.until(lambda: not room.workers(), 20)
        reached = epoch(failed)
        assert reached < 4
        ballast.unlink()
        room.trainings.resume(name, 0)
        ended = await room.until(lambda: (job := jobs.get(name)).state.finished and job, 240)
    assert (ended.state, ended.error) == (JobState.SUCCEEDED, None)
    text = room.store.get(room.trainings.files(name)["results.csv"].key).data.decode()
    assert [int(line.split(",")[0]) for line in text.splitlines()[1:]] == [1, 2, 3, 4]
