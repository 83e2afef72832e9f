"""What a job chooses beyond Ultralytics' arguments, with real Ultralytics in real worker processes: kept epochs, the best metric, event files, weights to begin with."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from shapes import NAMES, RECIPE, publish_shapes

from conftest import PROJECT, Room
from visionyard.kit.artifacts.model import read_model_version
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import Job, JobState
from visionyard.kit.names import VersionName
from visionyard.training.mapping import job_to_proto
from visionyard.training.spec import TrainingSpec

SMALL = {**RECIPE, "plots": False}
NOTHING_FITS = """
nc: 3
backbone:
  - [-1, 1, Conv, [24, 3, 2]]
  - [-1, 1, Conv, [40, 3, 2]]
  - [-1, 1, Conv, [56, 3, 2]]
  - [-1, 1, Conv, [72, 3, 2]]
  - [-1, 1, Conv, [88, 3, 2]]
head:
  - [[2, 3, 4], 1, Detect, [nc]]
"""


def _spec(dataset: str, **changes: Any) -> TrainingSpec:
    spec = TrainingSpec(
        dataset, "projects/default/models/m", architecture="yolov8n.yaml", epochs=1, batch_size=8, image_size_px=64, overrides=SMALL
    )
    return TrainingSpec(**{**vars(spec), **changes})


def _results(room: Room, job: Job) -> list[dict[str, str]]:
    text = room.store.get(room.trainings.files(job.name)["results.csv"].key).data.decode()
    return [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(io.StringIO(text))]


async def _ended(room: Room, spec: TrainingSpec) -> Job:
    name = room.trainings.create(PROJECT, spec, "").job.name
    await room.until(lambda: room.trainings.jobs.get(name).state.finished, 500)
    return room.trainings.jobs.get(name)


def _scalars(room: Room, job: Job, folder: Path, tag: str) -> list[int]:
    """The steps of a scalar in the job's event files, as TensorBoard itself reads them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that TensorBoard imports
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder.mkdir()
    for path, file in room.trainings.files(job.name).items():
        if path.startswith("tensorboard/"):
            room.store.get_file(file.key, folder / Path(path).name)
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return [event.step for event in accumulator.Scalars(tag)]


@pytest.mark.timeout(1200)
async def test_kept_epochs_can_be_gone_back_to_with_their_best_and_their_results(room: Room, tmp_path: Path) -> None:
    dataset = publish_shapes(room.store, train=16, val=8)
    metric = "metrics/recall(B)"
    async with room.dispatching():
        job = await _ended(room, _spec(dataset, epochs=4, overrides={**SMALL, "save_period": 2}, best_metric="recall", tensorboard=True))
        assert (job.state, job.error) == (JobState.SUCCEEDED, None)
        before = _results(room, job)
        files = room.trainings.files(job.name)
        assert {"weights/epoch0.pt", "weights/epoch2.pt"} <= set(files)
        assert "weights/epoch1.pt" not in files
        held = {entry.key for entry in room.store.list(f"{job.name}/")}
        assert {file.key for file in files.values()} <= held
        assert _scalars(room, job, tmp_path / "first", metric) == [1, 2, 3, 4]

        # best.pt is the epoch with the most recall, of equal ones the last, also among the first three alone.
        kept = job.pointers["checkpoint"]["kept"]
        assert sorted(kept) == ["1", "3"]
        recalls = [float(row[metric]) for row in before]
        best = max(range(3), key=lambda index: (recalls[index], index)) + 1
        assert kept["3"]["weights/best.pt"]["key"].endswith(f"/{best:06d}/last.pt")
        version = read_model_version(room.store, VersionName.parse(job.pointers["model_version"], "models"))
        assert version.best_metric == metric
        assert yaml.safe_load(room.store.get(files["args.yaml"].key).data)["best_metric"] == metric

        with pytest.raises(YardError, match=r"has not kept epoch 2: it has 1, 3, 4;") as refused:
            room.trainings.resume(job.name, 0, 2)
        assert refused.value.reason is Reason.INVALID_FIELD
        resumed = room.trainings.resume(job.name, 5, 3)
        assert job_to_proto(resumed).training_progress.epoch == 3
        assert room.trainings.resume(job.name, 5, 3).job.resumptions == 1, "the same call again"
        with pytest.raises(YardError) as other:
            room.trainings.resume(job.name, 5, 1)
        assert other.value.reason is Reason.JOB_UNFINISHED
        await room.until(lambda: room.trainings.jobs.get(job.name).state.finished, 500)
    job = room.trainings.jobs.get(job.name)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    after = _results(room, job)
    assert [int(row["epoch"]) for row in after] == [1, 2, 3, 4, 5]
    assert after[:3] == before[:3]
    assert sorted(job.pointers["checkpoint"]["kept"]) == ["1", "3", "5"]
    assert {"weights/epoch0.pt", "weights/epoch2.pt", "weights/epoch4.pt"} <= set(room.trainings.files(job.name))
    assert _scalars(room, job, tmp_path / "second", metric) == [1, 2, 3, 4, 5]
    keys = {entry.key for entry in room.store.list(f"{job.name}/")}
    assert {file.key for file in room.trainings.files(job.name).values()} <= keys
    assert job.pointers["model_version"].endswith("/2")


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_training_for_int8_goes_on_when_it_is_resumed(room: Room) -> None:
    dataset = publish_shapes(room.store, train=8, val=4)
    async with room.dispatching():
        job = await _ended(room, _spec(dataset, overrides={**SMALL, "quantize": 8}))
        assert (job.state, job.error) == (JobState.SUCCEEDED, None)
        assert "quantization-aware training" in room.log(job)
        room.trainings.resume(job.name, 2)
        await room.until(lambda: room.trainings.jobs.get(job.name).state.finished, 500)
    job = room.trainings.jobs.get(job.name)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert [int(row["epoch"]) for row in _results(room, job)] == [1, 2]
    version = read_model_version(room.store, VersionName.parse(job.pointers["model_version"], "models"))
    assert (version.task, version.class_names) == ("detect", NAMES)


@pytest.mark.timeout(1200)
async def test_a_network_begins_with_the_layers_of_another_model(room: Room) -> None:
    dataset = publish_shapes(room.store, train=8, val=4)
    masks = publish_shapes(room.store, "masks", train=8, val=4, task="segment")
    async with room.dispatching():
        first = await _ended(room, _spec(masks, architecture="yolov8n-seg.yaml", model="projects/default/models/s"))
        assert first.state is JobState.SUCCEEDED, first.error
        source = first.pointers["model_version"]
        begun = await _ended(room, _spec(dataset, pretrained_model_version="projects/default/models/s/versions/-"))
        assert (begun.state, begun.spec["pretrained_model_version"]) == (JobState.SUCCEEDED, source)
        assert f"tensors from {source}" in room.log(begun)
        arguments = yaml.safe_load(room.store.get(room.trainings.files(begun.name)["args.yaml"].key).data)
        assert arguments["pretrained"] == source

        none = await _ended(room, _spec(dataset, architecture="", model_yaml=NOTHING_FITS, pretrained_model_version=source))
    assert none.state is JobState.FAILED
    assert none.error is not None
    assert none.error.reason is Reason.WEIGHTS_DO_NOT_FIT
