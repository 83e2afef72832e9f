"""Training arguments against the installed Ultralytics' own list."""

from __future__ import annotations

from typing import Any

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.training.arguments import RESERVED, ArgumentTable, check_overrides
from visionyard.training.spec import TrainingSpec, check_spec, yaml_file_name

SPEC = TrainingSpec("projects/p/datasets/d/versions/1", "projects/p/models/m", architecture="yolov8n.yaml")


def _spec(**changes: Any) -> TrainingSpec:
    return TrainingSpec(**{**vars(SPEC), **changes})


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("lr0", 0.003, 0.003),
        ("patience", 20.0, 20),
        ("epochs", 3.0, 3),
        ("batch", -1.0, -1),
        ("batch", 0.6, 0.6),
        ("imgsz", 320.0, 320),
        ("mosaic", 0.0, 0.0),
        ("amp", False, False),
        ("amp", "BF16", "bf16"),
        ("optimizer", "adamw", "AdamW"),
        ("cache", "ram", "ram"),
        ("freeze", [0.0, "23.cv2"], [0, "23.cv2"]),
        ("classes", 0.0, [0]),
        ("scale", [0.5, 2.0], [0.5, 2.0]),
        ("fraction", 50.0, 50),
        ("time", 0.5, 0.5),
        ("conf", None, None),
        ("auto_augment", None, None),
        ("auto_augment", "AugMix", "augmix"),
        ("quantize", 8.0, 8),
        ("plots", False, False),
    ],
)
def test_values_that_ultralytics_takes_are_taken_in_its_types(table: ArgumentTable, name: str, value: Any, taken: Any) -> None:
    found = check_overrides({name: value}, table)[name]
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr0", "fast"),
        ("lr0", 1.5),
        ("lr0", float("nan")),
        ("lr0", True),
        ("lr0", None),
        ("epochs", 0.0),
        ("epochs", 2.5),
        ("batch", -4.0),
        ("batch", 0.0),
        ("imgsz", 100.0),
        ("imgsz", [640.0, 480.0]),
        ("plots", "yes"),
        ("plots", 1.0),
        ("cache", "disk"),
        ("cache", None),
        ("optimizer", None),
        ("auto_augment", "none"),
        ("pretrained", "/etc/passwd"),
        ("optimizer", "__import__('os')"),
        ("compile", "evil"),
        ("split", "../../etc"),
        ("freeze", [[1.0]]),
        ("box", {"a": 1.0}),
        ("workers", 10_000.0),
        ("seed", -1.0),
    ],
)
def test_values_of_the_wrong_type_or_range_are_refused(table: ArgumentTable, name: str, value: Any) -> None:
    with pytest.raises(YardError) as refused:
        check_overrides({name: value}, table)
    assert refused.value.reason is Reason.INVALID_ARGUMENT_VALUE
    assert refused.value.metadata["argument"] == name


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("cache", "Disk", "take cache=ram"), ("cache", "disk", "uncompressed"), ("auto_augment", False, "augmix, null")],
)
def test_why_a_value_is_refused_and_what_to_take_instead(table: ArgumentTable, name: str, value: Any, told: str) -> None:
    with pytest.raises(YardError) as refused:
        check_overrides({name: value}, table)
    assert told in refused.value.message


@pytest.mark.parametrize(("name", "near"), [("epoch", "epochs"), ("epocs", "epochs"), ("lr", "lrf"), ("mosiac", "mosaic")])
def test_a_near_miss_is_named(table: ArgumentTable, name: str, near: str) -> None:
    with pytest.raises(YardError) as refused:
        check_overrides({name: 3.0}, table)
    assert refused.value.reason is Reason.UNKNOWN_ARGUMENT
    assert near in refused.value.message
    assert near in refused.value.metadata["nearest"]


@pytest.mark.parametrize("name", [*sorted(RESERVED), "cfg", "distill_model", "save"])
def test_what_the_service_sets_is_refused_by_name(table: ArgumentTable, name: str) -> None:
    with pytest.raises(YardError) as refused:
        check_overrides({name: "x"}, table)
    assert refused.value.reason is Reason.RESERVED_ARGUMENT
    assert refused.value.metadata == {"argument": name}


@pytest.mark.parametrize("name", ["source", "tracker", "format", "opset", "show", "save_txt", "augmentations", "__class__"])
def test_what_is_no_training_argument_is_refused(table: ArgumentTable, name: str) -> None:
    with pytest.raises(YardError) as refused:
        check_overrides({name: "x"}, table)
    assert refused.value.reason is Reason.UNKNOWN_ARGUMENT


def test_every_default_of_the_installed_version_passes(table: ArgumentTable) -> None:
    """So no argument of a newer Ultralytics is refused for want of a rule."""
    refused = {}
    for name, default in table.defaults.items():
        if name in RESERVED or name in {"cfg", "distill_model", "save"} or not table.is_for_training(name):
            continue
        try:
            check_overrides({name: default}, table)
        except YardError as error:
            refused[name] = error.message
    assert refused == {}


def test_a_field_and_an_override_must_not_contradict(table: ArgumentTable) -> None:
    checked, _ = check_spec(_spec(epochs=3, overrides={"epochs": 3.0}), table)
    assert checked.arguments()["epochs"] == 3
    with pytest.raises(YardError, match="given twice") as refused:
        check_spec(_spec(epochs=3, overrides={"epochs": 4.0}), table)
    assert refused.value.reason is Reason.INVALID_ARGUMENT_VALUE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epochs": -1}, Reason.INVALID_FIELD),
        ({"image_size_px": 100}, Reason.INVALID_ARGUMENT_VALUE),
        ({"architecture": ""}, Reason.INVALID_FIELD),
        ({"model_version": "projects/p/models/x/versions/1"}, Reason.INVALID_FIELD),
        ({"architecture": "yolov99n.yaml"}, Reason.MODEL_YAML_INVALID),
        ({"architecture": "../../../etc/passwd"}, Reason.MODEL_YAML_INVALID),
        ({"architecture": "yolo26n-depth.yaml"}, Reason.UNSUPPORTED_TASK),
        ({"architecture": "yoloe-v8.yaml"}, Reason.UNSUPPORTED_TASK),
        ({"architecture": "yolo11-cls-resnet18.yaml"}, Reason.MODEL_YAML_INVALID),
    ],
)
def test_specs_that_cannot_be_trained_are_refused(table: ArgumentTable, changes: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(YardError) as refused:
        check_spec(_spec(**changes), table)
    assert refused.value.reason is reason


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("yolov8n.yaml", "detect"),
        ("yolov8.yaml", "detect"),
        ("yolo11s.yaml", "detect"),
        ("yolo26x.yaml", "detect"),
        ("yolov5n.yaml", "detect"),
        ("yolov8n-p2.yaml", "detect"),
        ("yolov10n.yaml", "detect"),
        ("rtdetr-l.yaml", "detect"),
        ("yolov8n-seg.yaml", "segment"),
        ("yolo26n-pose.yaml", "pose"),
        ("yolo11n-obb.yaml", "obb"),
        ("yolov8-cls-resnet50.yaml", "classify"),
    ],
)
def test_architectures_that_ultralytics_brings_are_known(table: ArgumentTable, name: str, task: str) -> None:
    checked, found = check_spec(_spec(architecture=name), table)
    assert (checked.architecture, found) == (name, task)


def test_a_yaml_of_ones_own_keeps_its_scale() -> None:
    assert yaml_file_name("nc: 2\nscale: s\n") == "yolo1s.yaml"
    assert yaml_file_name("nc: 2\n") == "yolo1.yaml"
