"""Networks of torchvision with real torch: state dicts pushed or refused, trainings by a network's name, taken up after a kill."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from shapes import NAMES, RECIPE, publish_shapes
from test_push import MODEL, Uploads
from torchvision.models import get_model

from conftest import PROJECT, Room
from visionyard.kit.artifacts.model import fetch_weights, read_model_version
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import Job, JobState
from visionyard.kit.names import VersionName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.torchvision_classes import torchvision_classes
from visionyard.training.inspection import convert, inspect
from visionyard.training.mapping import model_version_to_proto
from visionyard.training.models import Models
from visionyard.training.spec import TrainingSpec

Tensors = dict[str, torch.Tensor]


def _network(name: str, classes: int = 1000) -> Any:
    torch.manual_seed(3)
    return get_model(name, weights=None, num_classes=classes).eval()


def _features(network: Any, image: torch.Tensor) -> torch.Tensor:
    """What goes into a network's pooling."""
    seen: list[torch.Tensor] = []
    network.avgpool.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        network(image)
    return seen[0]


def _trunk(path: Path) -> Any:
    """The first layer of a stored model, opened as the workers open it."""
    torch.serialization.add_safe_globals(torchvision_classes())
    from ultralytics.nn.tasks import torch_safe_load

    checkpoint, _ = torch_safe_load(path, safe_only=True)
    return checkpoint["model"].eval().model[0]


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore()


@pytest.fixture
def uploads() -> Uploads:
    return Uploads()


def _models(store: Any, uploads: Uploads) -> Models:
    return Models(store, uploads, partial(inspect, timeout_s=120.0), partial(convert, timeout_s=120.0))


@pytest.mark.parametrize(
    ("network", "zipped", "change"),
    [
        ("resnet18", True, dict),
        # As files from before PyTorch 0.4.1: without batch norm's counts, and in the old format.
        ("resnet18", False, lambda tensors: {key: value for key, value in tensors.items() if "num_batches" not in key}),
        ("mobilenet_v3_small", True, dict),
        ("convnext_tiny", False, dict),
    ],
)
def test_a_state_dict_becomes_the_same_network_under_a_new_head(
    store: MemoryObjectStore, uploads: Uploads, tmp_path: Path, network: str, zipped: bool, change: Callable[[Tensors], Tensors]
) -> None:
    own, path = _network(network, classes=7), tmp_path / "w.pth"
    torch.save(change(own.state_dict()), path, _use_new_zipfile_serialization=zipped)
    models = _models(store, uploads)
    version = models.push(MODEL, uploads.add(path), "w.pth", "r1", network)
    assert (version.task, version.architecture, version.class_names) == ("classify", f"{network}.yaml", ("untrained",))
    assert (version.pushed_file, version.image_size_px) == ("w.pth", 224)
    shown = model_version_to_proto(version)
    assert (shown.head_untrained, shown.pushed_file) == (True, "w.pth")
    assert models.push(MODEL, uploads.add(path), "w.pth", "r2", network).name == version.name, "the same bytes make no new version"
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(_trunk(_stored(store, version, tmp_path))(image), _features(own, image))


def _stored(store: Any, version: Any, folder: Path) -> Path:
    return fetch_weights(store, version, folder / "stored.pt")


class Runs:
    """Unpickling it would create a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._marker}",)


def test_another_networks_state_dict_is_refused_and_leaves_nothing(store: MemoryObjectStore, uploads: Uploads, tmp_path: Path) -> None:
    torch.save(_network("resnet18").state_dict(), tmp_path / "w.pth")
    with pytest.raises(YardError) as refused:
        _models(store, uploads).push(MODEL, uploads.add(tmp_path / "w.pth"), "w.pth", "", "resnet34")
    assert refused.value.reason is Reason.WEIGHTS_UNREADABLE
    assert "it lacks layer1.2.conv1.weight" in refused.value.message
    assert (uploads.files, list(store.list(""))) == ({}, [])


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_state_dict_that_would_run_code_is_not_opened(store: MemoryObjectStore, uploads: Uploads, tmp_path: Path, zipped: bool) -> None:
    evil = _network("resnet18").state_dict() | {"z": Runs(tmp_path / "ran")}
    torch.save(evil, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    for network in ("resnet18", ""):
        with pytest.raises(YardError) as refused:
            _models(store, uploads).push(MODEL, uploads.add(tmp_path / "w.pth"), "w.pth", "", network)
        assert refused.value.reason is (Reason.WEIGHTS_UNREADABLE if not zipped and not network else Reason.WEIGHTS_UNSAFE)
    assert not (tmp_path / "ran").exists()
    assert (uploads.files, list(store.list(""))) == ({}, [])


def test_a_state_dict_alone_is_told_to_say_its_network(store: MemoryObjectStore, uploads: Uploads, tmp_path: Path) -> None:
    torch.save(_network("resnet18").state_dict(), tmp_path / "w.pth")
    with pytest.raises(YardError, match="--arch resnet34") as refused:
        _models(store, uploads).push(MODEL, uploads.add(tmp_path / "w.pth"), "w.pth")
    assert refused.value.reason is Reason.WEIGHTS_UNREADABLE


def _spec(dataset: str, epochs: int, **initial: str) -> TrainingSpec:
    overrides = {**RECIPE, "plots": False}
    return TrainingSpec(
        dataset, "projects/default/models/m", epochs=epochs, batch_size=16, image_size_px=64, overrides=overrides, **initial
    )


def _checkpoint(job: Job) -> dict[str, Any]:
    return job.pointers.get("checkpoint") or {}


@pytest.mark.timeout(600)
async def test_a_network_trains_by_its_name_though_its_worker_is_killed(room: Room) -> None:
    dataset = publish_shapes(room.store, task="classify", train=64, val=16)
    jobs = room.trainings.jobs
    name = room.trainings.create(PROJECT, _spec(dataset, 3, architecture="resnet18.yaml"), "").job.name
    async with room.dispatching():
        for wanted in (lambda: _checkpoint(jobs.get(name)).get("epoch", 0) >= 1, lambda: _checkpoint(jobs.get(name)).get("ended")):
            await room.until(lambda wanted=wanted: wanted() or jobs.get(name).state.finished, 240)
            for worker in room.workers():
                worker.kill()
        await room.until(lambda: jobs.get(name).state.finished, 120)
    job = jobs.get(name)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert job.attempt == 3
    rows = room.store.get(room.trainings.files(name)["results.csv"].key).data.decode().splitlines()
    assert [int(row.split(",")[0]) for row in rows[1:]] == [1, 2, 3]
    version = read_model_version(room.store, VersionName.parse(job.pointers["model_version"], "models"))
    assert (version.task, version.architecture, version.class_names) == ("classify", "resnet18.yaml", NAMES)
    assert not model_version_to_proto(version).head_untrained
    assert "metrics/accuracy_top1" in version.metrics


@pytest.mark.timeout(600)
async def test_a_training_starts_from_a_pushed_state_dict(room: Room, uploads: Uploads, tmp_path: Path) -> None:
    own = _network("resnet18")
    torch.save(own.state_dict(), tmp_path / "resnet18.pth")
    start = _models(room.store, uploads).push(MODEL, uploads.add(tmp_path / "resnet18.pth"), "resnet18.pth", "", "resnet18")
    dataset = publish_shapes(room.store, task="classify", train=32, val=16)
    jobs = room.trainings.jobs
    # With nothing trained but the head, the layers below must come out as they were pushed.
    spec = _spec(dataset, 1, model_version=str(start.name))
    spec = TrainingSpec(**{**vars(spec), "overrides": {**spec.overrides, "freeze": 1, "auto_augment": None}})
    name = room.trainings.create(PROJECT, spec, "").job.name
    async with room.dispatching():
        await room.until(lambda: jobs.get(name).state.finished, 240)
    job = jobs.get(name)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    arguments = yaml.safe_load(room.store.get(room.trainings.files(name)["args.yaml"].key).data)
    assert (arguments["auto_augment"], arguments["freeze"]) == (None, 1)
    version = read_model_version(room.store, VersionName.parse(job.pointers["model_version"], "models"))
    assert (version.name.number, version.class_names, version.image_size_px) == (2, NAMES, 64)
    trained = _trunk(_stored(room.store, version, tmp_path)).m[0].weight
    assert torch.equal(trained, own.conv1.weight.half())
