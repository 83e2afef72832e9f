"""Presets: checked when they are saved, and what comes out where a job takes one."""

from dataclasses import replace

import pytest
from google.protobuf import duration_pb2

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.training.preset_mapping import preset_from_proto, preset_to_proto
from visionyard.training.presets import COLLECTION, Preset, Presets
from visionyard.training.spec import TrainingSpec
from visionyard.training.v1 import preset_pb2


def name(id_):
    return ResourceName("default", COLLECTION, id_)


def spec(**said):
    return TrainingSpec("projects/default/datasets/d/versions/1", "projects/default/models/m", architecture="yolov8n.yaml", **said)


@pytest.fixture
def presets(table):
    return Presets(MemoryObjectStore(), lambda: table)


def test_what_is_saved_is_read_listed_replaced_and_taken_away(presets):
    first = presets.save(Preset(name("small"), epochs=50, overrides={"lr0": 0.005, "patience": 20.0}, best_metric="recall"))
    assert presets.get(name("small")) == first
    assert first.overrides == {"lr0": 0.005, "patience": 20}
    assert (
        presets.save(Preset(name("small"), epochs=50, overrides={"lr0": 0.005, "patience": 20.0}, best_metric="recall")).etag == first.etag
    )
    second = presets.save(Preset(name("small"), batch_size=8))
    assert (second.epochs, second.batch_size, second.overrides) == (0, 8, {})
    presets.save(Preset(name("other"), tensorboard=True))
    page, token = presets.list(ProjectName("default"), 1, "")
    assert ([p.name.id for p in page], bool(token)) == (["other"], True)
    page, token = presets.list(ProjectName("default"), 1, token)
    assert ([p.name.id for p in page], token) == (["small"], "")
    presets.delete(name("small"))
    for gone in (presets.get, presets.delete):
        with pytest.raises(YardError) as missing:
            gone(name("small"))
        assert missing.value.reason is Reason.PRESET_NOT_FOUND


def test_a_save_on_top_of_another_state_is_refused(presets):
    first = presets.save(Preset(name("small"), epochs=50))
    presets.save(Preset(name("small"), epochs=60))
    for stale in (Preset(name("small"), epochs=70, etag=first.etag), Preset(name("new"), epochs=70, etag=first.etag)):
        with pytest.raises(YardError) as refused:
            presets.save(stale)
        assert refused.value.reason is Reason.ETAG_MISMATCH
    assert presets.get(name("small")).epochs == 60


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"overrides": {"epocs": 3}}, Reason.UNKNOWN_ARGUMENT),
        ({"overrides": {"data": "/etc/passwd"}}, Reason.RESERVED_ARGUMENT),
        ({"overrides": {"lr0": "fast"}}, Reason.INVALID_ARGUMENT_VALUE),
        ({"epochs": -1}, Reason.INVALID_FIELD),
        ({"epochs": 5, "overrides": {"epochs": 6}}, Reason.INVALID_ARGUMENT_VALUE),
        ({"image_size_px": 33}, Reason.INVALID_ARGUMENT_VALUE),
        ({"best_metric": "map50"}, Reason.INVALID_FIELD),
        ({"gpus": 65}, Reason.INVALID_FIELD),
        ({"time_limit_s": 0.5}, Reason.INVALID_FIELD),
        ({}, Reason.INVALID_FIELD),
    ],
)
def test_what_a_training_would_refuse_is_refused_at_once(presets, said, reason):
    with pytest.raises(YardError) as refused:
        presets.save(Preset(name("x"), **said))
    assert refused.value.reason is reason
    assert presets.list(ProjectName("default"), 10, "") == ([], "")


def test_what_a_job_says_itself_goes_before_its_preset():
    preset = Preset(
        name("x"), epochs=50, batch_size=8, overrides={"imgsz": 320, "lr0": 0.1, "mosaic": 0}, best_metric="recall", tensorboard=True
    )
    out = preset.fill(spec(image_size_px=64, overrides={"lr0": 0.2, "batch": 4}, best_metric="mAP50"))
    assert (out.epochs, out.batch_size, out.image_size_px) == (50, 0, 64)
    assert out.overrides == {"mosaic": 0, "lr0": 0.2, "batch": 4}
    assert (out.best_metric, out.tensorboard) == ("mAP50", True)
    assert not preset.fill(spec(), without_tensorboard=True).tensorboard
    assert preset.fill(spec(tensorboard=True), without_tensorboard=True).tensorboard
    assert preset.fill(spec()).arguments() == {"imgsz": 320, "lr0": 0.1, "mosaic": 0, "epochs": 50, "batch": 8}


def test_processes_and_a_time_limit_are_kept_and_filled_in(presets):
    saved = presets.save(Preset(name("x"), gpus=2, time_limit_s=90.5))
    assert preset_from_proto(preset_to_proto(saved)) == replace(saved, update_time=None)
    assert (saved.fill(spec()).gpus, saved.fill(spec(gpus=1)).gpus) == (2, 1)
    none = preset_pb2.Preset(name=str(name("x")), time_limit=duration_pb2.Duration())
    with pytest.raises(YardError) as refused:
        preset_from_proto(none)
    assert refused.value.reason is Reason.INVALID_FIELD
