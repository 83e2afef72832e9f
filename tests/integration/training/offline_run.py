"""What test_offline.py runs in a network namespace with nothing in it but loopback; pytest collects it only when it is named."""

import errno
import socket
from pathlib import Path

import pytest
from shapes import RECIPE, publish_shapes

from conftest import PROJECT, Room
from visionyard.kit.jobs.model import JobState
from visionyard.training.spec import TrainingSpec


@pytest.mark.timeout(900)
async def test_a_training_needs_no_network(room: Room, tmp_path: Path) -> None:
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        assert out.connect_ex(("192.0.2.1", 53)) == errno.ENETUNREACH
    dataset = publish_shapes(room.store, train=8, val=4)
    overrides = {
        key: value for key, value in RECIPE.items() if key != "amp"
    }  # pictures with labels in Ultralytics' font, and the check of AMP
    spec = TrainingSpec(
        dataset, "projects/default/models/m", architecture="yolov8n.yaml", epochs=2, batch_size=8, image_size_px=64, overrides=overrides, tensorboard=True
    )  # fmt: skip
    name = room.trainings.create(PROJECT, spec, "").job.name
    async with room.dispatching():
        await room.until(lambda: room.trainings.jobs.get(name).state.finished, 600)
    job = room.trainings.jobs.get(name)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert {"weights/best.pt", "results.csv", "results.png", "confusion_matrix.png"} <= set(room.trainings.files(name))
    log = "".join(room.store.get(entry.key).data.decode() for entry in room.store.list(f"{name}/attempts/") if "/log/" in entry.key)
    assert "Downloading" not in log
