"""The report of a training, and two models side by side: the figures are Ultralytics' own, over all attempts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
from shapes import NAMES, RECIPE, publish_shapes

from conftest import PROJECT, Room
from visionyard.kit.artifacts.dataset import read_dataset_version
from visionyard.kit.artifacts.materialise import materialise
from visionyard.kit.artifacts.model import fetch_weights, read_model_version
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.dispatcher import Dispatcher
from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.names import ResourceName, VersionName
from visionyard.training.evaluation_mapping import evaluation_report_to_proto
from visionyard.training.evaluations import Evaluations, EvaluationSpec
from visionyard.training.report_mapping import report_to_proto
from visionyard.training.spec import TrainingSpec
from visionyard.training.v1 import training_report_pb2

MODEL = "projects/default/models/m"
EPOCHS, TRAIN, VAL = 8, 128, 32


def _spec(dataset: str, **changes: Any) -> TrainingSpec:
    spec = TrainingSpec(dataset, MODEL, architecture="yolov8n.yaml", epochs=EPOCHS, batch_size=8, image_size_px=64)
    return TrainingSpec(**{**vars(spec), "overrides": {**RECIPE, "plots": False}, **changes})


def _report(room: Room, name: ResourceName) -> training_report_pb2.TrainingReport:
    return report_to_proto(room.trainings.report(name))


@asynccontextmanager
async def _evaluating(room: Room) -> AsyncIterator[None]:
    dispatcher = Dispatcher(
        room.store,
        JobKind.EVALUATION,
        "visionyard.training.worker.evaluation",
        [{"CUDA_VISIBLE_DEVICES": ""}],
        room.work_dir,
        lease_s=6.0,
        poll_s=0.1,
    )
    task = asyncio.create_task(dispatcher.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _seconds(times: training_report_pb2.PhaseTimes) -> dict[str, float]:
    return {field.name: getattr(times, field.name).ToMilliseconds() / 1000 for field in times.DESCRIPTOR.fields}


@pytest.mark.long
@pytest.mark.timeout(1800)  # a minute or two on two quiet cores, and 15 where they are shared with five other trainings
async def test_a_preempted_training_reports_all_of_its_time_and_errors(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = publish_shapes(room.store, train=TRAIN, val=VAL)
    name = room.trainings.create(PROJECT, _spec(dataset), "").job.name
    jobs = room.trainings.jobs
    assert not _report(room, name).HasField("findings")
    async with room.dispatching():
        await room.until(lambda: (jobs.get(name).pointers.get("checkpoint") or {}).get("epoch", 0) >= 2, 300)
        running = _report(room, name)
        room.workers()[0].send_signal(signal.SIGTERM)
        await room.until(lambda: jobs.get(name).state.finished, 1200)
    job = jobs.get(name)
    assert job.error is None, job.error
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    report = _report(room, name)
    _adds_up(running, report, job)
    assert room.trainings.page(name).count(b"<polyline") >= 5
    _is_what_ultralytics_counts(room, report, job.pointers["model_version"], tmp_path, monkeypatch)
    await _compares_as_it_reports(room, report, job)


def _adds_up(running: training_report_pb2.TrainingReport, report: training_report_pb2.TrainingReport, job: Job) -> None:
    """Phases and pictures of both attempts are in the report, and each epoch once."""
    assert running.epoch >= 2
    assert not running.HasField("findings")
    before, after = _seconds(running.phase_times), _seconds(report.phase_times)
    assert all(after[phase] >= before[phase] > 0 for phase in after), "an attempt's time was lost"
    assert sum(after.values()) <= report.elapsed.ToMilliseconds() / 1000 + 1
    assert job.pointers["checkpoint"]["measured"]["images"] == EPOCHS * TRAIN
    assert report.images_per_second == pytest.approx(EPOCHS * TRAIN / (after["data"] + after["training"]), rel=0.01)
    assert not report.HasField("gpu"), "there is none here, which is not the same as one that does nothing"
    assert [row.epoch for row in report.epoch_figures] == list(range(1, EPOCHS + 1))
    best = max(report.epoch_figures, key=lambda row: row.values["metrics/mAP50-95(B)"])
    assert report.epoch_figures[report.best_epoch - 1].values["metrics/mAP50-95(B)"] == best.values["metrics/mAP50-95(B)"]


def _is_what_ultralytics_counts(
    room: Room, report: training_report_pb2.TrainingReport, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a validation of the stored weights by Ultralytics alone, at the report's confidence and with its confusion matrix at the report's IoU."""
    from ultralytics.models.yolo.detect import DetectionValidator
    from ultralytics.utils.metrics import ConfusionMatrix

    found = report.findings
    version = read_model_version(room.store, VersionName.parse(model, "models"))
    weights = fetch_weights(room.store, version, tmp_path / "best.pt")
    assert dict(found.metrics) == pytest.approx(dict(version.metrics))
    assert found.metrics["metrics/mAP50(B)"] > 0.1, "a model that has learned nothing shows nothing"
    dataset = read_dataset_version(room.store, VersionName.parse(report.dataset_version, "datasets"))
    monkeypatch.setattr(ConfusionMatrix, "process_batch", partialmethod(ConfusionMatrix.process_batch, iou_thres=found.iou))
    monkeypatch.setattr(ConfusionMatrix, "plot", lambda *_, **__: None)
    monkeypatch.setattr(DetectionValidator, "plot_val_samples", lambda *_, **__: None)
    monkeypatch.setattr(DetectionValidator, "plot_predictions", lambda *_, **__: None)
    with materialise(room.store, dataset, tmp_path / "sets", 1 << 30) as folder:
        asked = {
            "data": str(folder / "data.yaml"),
            "imgsz": 64,
            "batch": 16,
            "rect": True,
            "device": "cpu",
            "save_dir": str(tmp_path / "val"),
        }
        whole = DetectionValidator(args={**asked, "mode": "val", "plots": False})
        whole(model=weights)
        sure = DetectionValidator(args={**asked, "mode": "val", "plots": True, "conf": found.confidence - 1e-4})
        monkeypatch.setattr("ultralytics.utils.metrics.plot_pr_curve", lambda *_, **__: None)
        monkeypatch.setattr("ultralytics.utils.metrics.plot_mc_curve", lambda *_, **__: None)
        sure(model=weights)
    for at, class_id in enumerate(whole.metrics.ap_class_index):
        row = found.classes[class_id]
        precision, recall, ap50, ap = whole.metrics.class_result(at)
        assert (row.ap50, row.ap50_95) == (pytest.approx(ap50, abs=0.01), pytest.approx(ap, abs=0.01))
        assert (row.precision, row.recall) == (pytest.approx(precision, abs=0.1), pytest.approx(recall, abs=0.1))
    cells = {(cell.predicted_class_id, cell.true_class_id): cell.count for cell in found.confusion}
    matrix = sure.confusion_matrix.matrix
    for class_id in range(len(NAMES)):
        assert sum(count for (row, _), count in cells.items() if row == class_id) == pytest.approx(matrix[class_id].sum(), abs=1)
        assert sum(count for (_, column), count in cells.items() if column == class_id) == matrix[:, class_id].sum()
        # Ultralytics lets the surest prediction of any class take a label; here one of the label's own class goes before.
        assert cells.get((class_id, class_id), 0) >= matrix[class_id, class_id]
    assert found.image_count == found.label_count == VAL
    assert (
        sum(len(image.false_negatives) for image in found.images)
        == found.false_negative_count
        == sum(c.false_negatives for c in found.classes)
    )
    assert (
        sum(len(image.false_positives) for image in found.images)
        == found.false_positive_count
        == sum(c.false_positives for c in found.classes)
    )
    assert all(image.image.startswith("val/") and (image.width_px, image.height_px) == (64, 64) for image in found.images)
    assert all(0 <= point <= 64 for image in found.images for mark in image.false_negatives for point in mark.points)


async def _compares_as_it_reports(room: Room, report: training_report_pb2.TrainingReport, job: Job) -> None:
    """The model beside itself, also where the worker is told to go in between: nothing differs, and all is as the training has told."""
    evaluations = Evaluations(room.store)
    version = job.pointers["model_version"]
    asked = EvaluationSpec(version, "projects/default/models/m/versions/-", "projects/default/datasets/shapes/versions/-", "")
    name = evaluations.create(PROJECT, asked, "11111111-1111-4111-8111-111111111111").job.name
    assert evaluations.create(PROJECT, asked, "11111111-1111-4111-8111-111111111111").job.name == name
    with pytest.raises(YardError) as unfinished:
        evaluations.report(name)
    assert unfinished.value.reason is Reason.JOB_UNFINISHED
    async with _evaluating(room):
        await room.until(lambda: evaluations.jobs.progress(evaluations.jobs.get(name)).phase, 60)
        room.workers()[0].send_signal(signal.SIGTERM)
        await room.until(lambda: evaluations.jobs.get(name).state.finished, 300)
    ended = evaluations.jobs.get(name)
    assert (ended.state, ended.error) == (JobState.SUCCEEDED, None)
    compared = evaluation_report_to_proto(*evaluations.report(name))
    assert compared.first == compared.second
    assert compared.first.model_version == version
    assert dict(compared.first.findings.metrics) == pytest.approx(dict(report.findings.metrics), abs=0.01)
    assert compared.first.findings.false_negative_count == pytest.approx(report.findings.false_negative_count, abs=1)
    assert (compared.only_first_right_count, compared.only_second_right_count) == (0, 0)
    assert compared.both_wrong_count == compared.first.findings.wrong_image_count
    assert compared.both_wrong_count + compared.both_right_count == VAL
    assert b"only m@1 has right" in evaluations.page(name)
    for changed, reason in (({"split": "test"}, Reason.INVALID_FIELD), ({"dataset_version": _other(room)}, Reason.VERSIONS_MISMATCH)):
        with pytest.raises(YardError) as refused:
            evaluations.create(PROJECT, EvaluationSpec(**{**asked.to_json(), **changed}), "")
        assert refused.value.reason is reason


def _other(room: Room) -> str:
    """A set with the same pictures and other classes."""
    return publish_shapes(room.store, "others", train=4, val=2, names=("circle", "triangle", "square"))


@pytest.mark.timeout(600)
async def test_a_classification_reports_what_its_best_weights_take_for_another_class(room: Room) -> None:
    dataset = publish_shapes(room.store, "animals", train=24, val=16, task="classify", names=("zebra", "owl", "ant"))
    name = room.trainings.create(PROJECT, _spec(dataset, architecture="yolov8n-cls.yaml", epochs=2), "").job.name
    async with room.dispatching():
        await room.until(lambda: room.trainings.jobs.get(name).state.finished, 400)
    assert room.trainings.jobs.get(name).error is None
    found = _report(room, name).findings
    right = sum(row.true_positives for row in found.classes)
    assert found.metrics["metrics/accuracy_top1"] == pytest.approx(right / 16)
    assert (found.image_count, found.wrong_image_count, len(found.images)) == (16, 16 - right, 16 - right)
    assert [row.name for row in found.classes] == ["zebra", "owl", "ant"]
    for image in found.images:
        positive, negative = image.false_positives[0], image.false_negatives[0]
        assert image.image.startswith("val/")
        assert (positive.class_name, positive.true_class_name) == (negative.predicted_class_name, negative.class_name)
        assert positive.class_name != negative.class_name
        assert (image.width_px, image.height_px) == (64, 64)
    assert room.trainings.page(name).count(b"data:image/jpeg") == 16 - right
