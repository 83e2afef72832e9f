"""Each task trains on generated pictures until it has learned, and each family of models trains at all."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shapes import NAMES, RECIPE, publish_shapes

from conftest import PROJECT, Room
from visionyard.kit.artifacts.model import ModelVersion, read_model_version
from visionyard.kit.jobs.model import JobState
from visionyard.kit.names import VersionName
from visionyard.training.spec import TrainingSpec

MODEL = "projects/default/models/m"
TINY_RTDETR = """
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
head:
  - [[2, 3, 4], 1, RTDETRDecoder, [nc, 32, 20, 2, 2, 1]]
"""


def _spec(dataset: str, epochs: int, **initial: str) -> TrainingSpec:
    overrides = {**RECIPE, "plots": False}
    return TrainingSpec(dataset, MODEL, epochs=epochs, batch_size=8, image_size_px=64, overrides=overrides, **initial)


async def _trained(room: Room, spec: TrainingSpec) -> ModelVersion:
    name = room.trainings.create(PROJECT, spec, "").job.name
    jobs = room.trainings.jobs
    async with room.dispatching():
        await room.until(lambda: jobs.get(name).state.finished, 500)
    job = jobs.get(name)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    return read_model_version(room.store, VersionName.parse(job.pointers["model_version"], "models"))


def _network(task: str) -> str:
    suffix = {"detect": "", "segment": "-seg", "classify": "-cls"}.get(task, f"-{task}")
    return f"yolov8n{suffix}.yaml"


PLAIN = """
import json, sys
from ultralytics import YOLO
asked = json.loads(sys.argv[1])
trained = YOLO(asked.pop("model")).train(**asked)
sys.stdout.write("\\n" + json.dumps({key: float(value) for key, value in trained.results_dict.items() if key.startswith("metrics/")}))
"""


@pytest.fixture
def as_many_cores_as_ultralytics_uses() -> Iterator[None]:
    """One less than there are: threads share sums out, so another number of them rounds otherwise, and twenty epochs make something of that."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[: max(1, (os.cpu_count() or 1) - 1)])
    yield
    os.sched_setaffinity(0, before)


def _plain(work_dir: Path, task: str, spec: TrainingSpec) -> dict[str, float]:
    """The metrics of plain Ultralytics with the same arguments, on the folder that the worker had trained on."""
    [folder] = {path.parent for path in (work_dir / "datasets").rglob("data.yaml" if task != "classify" else "classes.json")}
    data = folder if task == "classify" else folder / "data.yaml"
    asked = {**spec.arguments(), "model": spec.architecture, "data": str(data), "project": str(work_dir / "plain"), "device": "cpu"}
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(work_dir / "yolo"), "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0"}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, json.dumps(asked)], env=environment, cwd=work_dir, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("task", "epochs", "names", "wanted"),
    [
        ("segment", 14, NAMES, {"metrics/mAP50(B)": 0.8, "metrics/mAP50(M)": 0.8}),
        ("pose", 20, NAMES, {"metrics/mAP50(B)": 0.8, "metrics/mAP50(P)": 0.6}),
        ("obb", 20, NAMES, {"metrics/mAP50(B)": 0.8}),
        # Ultralytics alone would number the classes by the alphabet.
        ("classify", 10, ("zebra", "owl", "ant"), {"metrics/accuracy_top1": 0.8}),
    ],
)
async def test_a_task_is_learned(room: Room, task: str, epochs: int, names: tuple[str, ...], wanted: dict[str, float]) -> None:
    version = await _trained(room, _spec(publish_shapes(room.store, task, task=task, names=names), epochs, architecture=_network(task)))
    assert (version.task, version.class_names, version.image_size_px) == (task, names, 64)
    for metric, least in wanted.items():
        assert version.metrics[metric] >= least


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("as_many_cores_as_ultralytics_uses")
@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb", "classify"])
async def test_a_task_is_learned_as_plain_ultralytics_learns_it(room: Room, task: str) -> None:
    names = ("ant", "owl", "zebra")  # by the alphabet, as Ultralytics numbers a classifier's
    spec = _spec(publish_shapes(room.store, task, task=task, names=names), 14, architecture=_network(task))
    version = await _trained(room, spec)
    plain = await asyncio.to_thread(_plain, room.work_dir, task, spec)
    assert max(plain.values()) >= 0.6, "where nothing is learned all are alike"
    assert version.metrics == pytest.approx(plain, abs=0.005)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("task", "initial"),
    [
        ("detect", {"architecture": "yolov5n.yaml"}),
        pytest.param("detect", {"architecture": "yolo11n.yaml"}, marks=pytest.mark.long),
        ("detect", {"architecture": "yolo26n.yaml"}),
        pytest.param("pose", {"architecture": "yolo26n-pose.yaml"}, marks=pytest.mark.long),
        ("detect", {"model_yaml": TINY_RTDETR}),
        pytest.param("classify", {"architecture": "yolo26n-cls.yaml"}, marks=pytest.mark.long),
    ],
    ids=["yolov5", "yolo11", "yolo26", "yolo26-pose", "rtdetr", "yolo26-cls"],
)
async def test_a_family_trains_on_a_set_without_val(room: Room, task: str, initial: dict[str, Any]) -> None:
    dataset = publish_shapes(room.store, task=task, train=16, val=0)
    version = await _trained(room, _spec(dataset, 1, **initial))
    assert (version.task, version.class_names) == (task, NAMES)
    assert any(name.startswith("metrics/") for name in version.metrics)
