"""What a training does, told from what is asked for."""

import dataclasses
from datetime import UTC, datetime

import pytest

from visionyard.kit.artifacts.dataset import DatasetSplit, DatasetVersion
from visionyard.kit.artifacts.model import ModelVersion
from visionyard.kit.names import ResourceName, VersionName
from visionyard.training.estimates.effort import effort_of
from visionyard.training.spec import TrainingSpec

DEFAULTS = {"epochs": 100, "batch": 16, "imgsz": 640, "amp": True, "val": True, "fraction": 1.0, "time": None}
DATASET = DatasetVersion(
    VersionName(ResourceName("p", "datasets", "d"), 1), "sha256:00", "detect", 120, 120, (), (DatasetSplit("train", 100, 0), DatasetSplit("val", 20, 0)),
    0, 0, "yolo", "", "m", "", create_time=datetime(2026, 1, 1, tzinfo=UTC),
)  # fmt: skip
SPEC = TrainingSpec("projects/p/datasets/d/versions/1", "projects/p/models/m", architecture="yolov8n.yaml")


def version(architecture, parameters=3_000_000):
    return ModelVersion(VersionName(ResourceName("p", "models", "m"), 1), "", "detect", (), parameters, 640, 32, architecture, "w", {})


def effort(initial=None, **changes):
    return effort_of(dataclasses.replace(SPEC, **changes), DEFAULTS, DATASET, initial)


def test_what_is_not_said_is_ultralytics_own():
    found = effort().check("effort")
    assert (found.batch_size, found.image_size_px, found.train_images, found.val_images, found.mixed_precision) == (16, 640, 100, 20, True)
    assert found.model == "yolov8n.yaml"


@pytest.mark.parametrize(
    ("overrides", "field", "value"),
    [
        ({"fraction": 0.5}, "train_images", 50),
        ({"fraction": 30}, "train_images", 30),
        ({"fraction": [0.5, 10]}, "val_images", 10),
        ({"val": False}, "val_images", 0),
        ({"amp": "fp32"}, "mixed_precision", False),
        ({"batch": -1}, "batch_size", 16),
        ({"batch": 0.6}, "batch_size", 16),
        ({"batch": 4}, "batch_size", 4),
        ({"imgsz": 320}, "image_size_px", 320),
    ],
)
def test_arguments_that_matter(overrides, field, value):
    assert getattr(effort(overrides=overrides), field) == value


def test_no_val_split_is_validated_on_the_train_split():
    assert effort_of(SPEC, DEFAULTS, dataclasses.replace(DATASET, splits=DATASET.splits[:1]), None).val_images == 100


def test_weights_count_as_their_architecture_and_own_yamls_as_themselves():
    assert effort(version("yolov8n.yaml"), architecture="", model_version="v").model == "yolov8n.yaml"
    assert effort(version("yolo1n.yaml"), architecture="", model_version="v").model == "weights:3000000"
    assert effort(version(""), architecture="", model_version="v").model == "weights:3000000"
    mine = effort(architecture="", model_yaml="nc: 1").model
    assert mine.startswith("yaml:")
    assert mine != effort(architecture="", model_yaml="nc: 2").model


def test_operations_by_name_by_parameters_or_as_measured():
    def gflops(model, parameters=0, **changes):
        return dataclasses.replace(effort(), model=model, parameter_count=parameters, **changes).model_gflops

    assert gflops("yolov8n.yaml") == 8.7
    assert gflops("yolov5nu.yaml") == gflops("yolov5n.yaml") == 7.7
    assert gflops("yolo11x-seg.yaml", task="segment") > gflops("yolo11x.yaml") == 194.9
    assert gflops("rtdetr-l.yaml") == 110
    assert gflops("weights:25000000", 25_000_000) == pytest.approx(70)
    assert gflops("resnet34.yaml") > 0
    assert gflops("yolov8n.yaml", gflops=3.0) == 3


def test_processes_count_on_all_machines_and_compute_as_fast_as_their_gpus():
    found = effort(gpus=4, nodes=2, launcher="ray").check("effort")
    assert (found.processes, found.nodes) == (8, 2)
    assert [found.at_once(gpus) for gpus in (0, 1, 2, 4, 8)] == [2, 2, 4, 8, 8]
    assert (effort().processes, effort().nodes, effort().at_once(4)) == (1, 1, 1)
