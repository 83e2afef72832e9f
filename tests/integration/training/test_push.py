"""Weight files pushed by users: opened in a child process with limits, refused with a reason, nothing left behind."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from visionyard.kit.artifacts.model import fetch_weights, sha256_of
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ProjectName, ResourceName, VersionName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.training.inspection import convert, inspect
from visionyard.training.mapping import model_to_proto
from visionyard.training.models import Models, file_name

MODEL = ResourceName("default", "models", "m")


class Uploads:
    """Complete uploads that are files already."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}

    def add(self, path: Path) -> ResourceName:
        name = ResourceName("default", "uploads", f"u{len(self.files)}")
        self.files[str(name)] = path
        return name

    @contextmanager
    def as_file(self, name: ResourceName) -> Iterator[tuple[Path, str]]:
        if str(name) not in self.files:
            raise YardError(Reason.UPLOAD_NOT_FOUND, "gone", {"name": str(name)})
        path = self.files[str(name)]
        yield path, sha256_of(path)

    def delete(self, name: ResourceName) -> None:
        self.files.pop(str(name), None)


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore()


@pytest.fixture
def uploads() -> Uploads:
    return Uploads()


@pytest.fixture
def models(store: MemoryObjectStore, uploads: Uploads) -> Models:
    return Models(store, uploads, partial(inspect, timeout_s=120.0), partial(convert, timeout_s=120.0))


@pytest.mark.parametrize(
    ("file", "task", "classes", "first", "stride"),
    [
        ("yolov8n.pt", "detect", 80, "person", 32),
        ("yolo26n.pt", "detect", 80, "person", 32),
        ("yolo11n-cls.pt", "classify", 1000, "tench", 1),
    ],
)
def test_real_weights_are_accepted(
    test_data: Path,
    models: Models,
    uploads: Uploads,
    store: MemoryObjectStore,
    tmp_path: Path,
    file: str,
    task: str,
    classes: int,
    first: str,
    stride: int,
) -> None:
    path = test_data / "weights" / file
    version = models.push(MODEL, uploads.add(path), file)
    assert (version.task, len(version.class_names), version.class_names[0]) == (task, classes, first)
    assert version.stride in {stride, 32}
    assert version.parameter_count > 1_000_000
    assert version.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert (version.pushed_file, version.training_job, dict(version.metrics)) == (file, "", {})
    assert fetch_weights(store, version, tmp_path / "w.pt").read_bytes() == path.read_bytes()
    assert uploads.files == {}


def test_a_class_whose_name_is_no_text_does_not_end_the_list_of_models(models: Models, uploads: Uploads, tmp_path: Path) -> None:
    model = DetectionModel("yolov8n.yaml", nc=1, verbose=False)
    model.names, model.task = {0: "\ud800cat"}, "detect"
    torch.save({"epoch": -1, "model": model, "ema": None, "train_args": {"task": "detect", "imgsz": 64}}, tmp_path / "odd.pt")
    assert models.push(MODEL, uploads.add(tmp_path / "odd.pt"), "odd.pt").class_names == ("\\ud800cat",)
    views, _ = models.list_models(ProjectName(MODEL.project), 50, "")
    assert [list(model_to_proto(view).latest_version.class_names) for view in views] == [["\\ud800cat"]]


def test_the_same_bytes_again_are_the_same_version_and_other_bytes_the_next(test_data: Path, models: Models, uploads: Uploads) -> None:
    names = [
        str(models.push(MODEL, uploads.add(test_data / "weights" / file), file).name)
        for file in ("yolov8n.pt", "yolov8n.pt", "yolo26n.pt", "yolov8n.pt")
    ]
    assert [name.rsplit("/", 1)[1] for name in names] == ["1", "1", "2", "3"]
    shown = models.get(MODEL)
    assert shown.newest.name == VersionName(MODEL, 3)
    page, token = models.list_versions(MODEL, 2, "")
    assert [version.name.number for version in page] == [3, 2]
    rest, end = models.list_versions(MODEL, 2, token)
    assert ([version.name.number for version in rest], end) == ([1], "")
    assert [view.newest.name for view in models.list_models(ProjectName("default"), 0, "")[0]] == [VersionName(MODEL, 3)]


class Runs:
    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self._marker}",)


def _bad_files(test_data: Path, folder: Path, marker: Path) -> dict[str, tuple[Path, Reason]]:
    found = {path.name: (path, Reason.WEIGHTS_UNREADABLE) for path in sorted((test_data / "nasty").glob("*.pt"))}
    (folder / "evil.pt").write_bytes(pickle.dumps(Runs(marker)))
    with zipfile.ZipFile(folder / "evil_zip.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"model": Runs(marker)}, protocol=2))
        archive.writestr("archive/version", "3\n")
    with zipfile.ZipFile(test_data / "weights" / "yolov8n.pt") as good, zipfile.ZipFile(folder / "no_tensors.pt", "w") as archive:
        for entry in good.infolist():
            if "/data/" not in entry.filename:
                archive.writestr(entry.filename, good.read(entry))
    with zipfile.ZipFile(test_data / "weights" / "yolov8n.pt") as good, zipfile.ZipFile(folder / "activation.pt", "w") as archive:
        for entry in good.infolist():
            archive.writestr(entry.filename, good.read(entry).replace(b"nn.modules.activation\nSiLU", b"nn.modules.activation\nNope"))
    shutil.copyfile(test_data / "photos" / "ul_bus.jpg", folder / "photo.pt")
    found |= {name: (folder / name, Reason.WEIGHTS_UNSAFE) for name in ("evil.pt", "evil_zip.pt")}
    return (
        found
        | {name: (folder / name, Reason.WEIGHTS_UNREADABLE) for name in ("no_tensors.pt", "photo.pt")}
        | {"activation.pt": (folder / "activation.pt", Reason.WEIGHTS_UNSAFE)}
    )


def test_bad_weights_are_refused_run_nothing_and_leave_nothing(
    test_data: Path, models: Models, uploads: Uploads, store: MemoryObjectStore, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    files = _bad_files(test_data, tmp_path, marker)
    assert len(files) == 8
    for name, (path, reason) in files.items():
        with pytest.raises(YardError) as refused:
            models.push(MODEL, uploads.add(path), name)
        assert refused.value.reason is reason, f"{name}: {refused.value}"
        assert name in refused.value.message
        assert str(path.parent) not in refused.value.message
    assert not marker.exists()
    assert uploads.files == {}
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("yolov8n.pt", "yolov8n.pt"),
        ("../../x/best.pt", "best.pt"),
        ("C:\\a b.pt", "a_b.pt"),
        ("", "weights.pt"),
        ("..", "weights.pt"),
        ("w", "w.pt"),
    ],
)
def test_file_names_from_clients_are_plain(given: str, kept: str) -> None:
    assert file_name(given) == kept
