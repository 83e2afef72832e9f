"""Names of metrics that may choose the best epoch."""

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.training.task_metrics import check_metric_name, main_metric, metric_key


@pytest.mark.parametrize(
    ("name", "task", "key"),
    [
        ("mAP50", "detect", "metrics/mAP50(B)"),
        ("mAP50-95", "obb", "metrics/mAP50-95(B)"),
        ("metrics/recall(B)", "detect", "metrics/recall(B)"),
        ("recall", "segment", "metrics/recall(B)"),
        ("mAP50(M)", "segment", "metrics/mAP50(M)"),
        ("precision(P)", "pose", "metrics/precision(P)"),
        ("metrics/mAP50-95(P)", "pose", "metrics/mAP50-95(P)"),
        ("top1", "classify", "metrics/accuracy_top1"),
        ("metrics/accuracy_top5", "classify", "metrics/accuracy_top5"),
    ],
)
def test_a_metric_is_known_by_its_short_name_and_by_ultralytics_key(name, task, key):
    assert metric_key(name, task) == key
    check_metric_name(name)


@pytest.mark.parametrize(
    ("name", "task", "near"),
    [
        ("map50", "detect", "did you mean mAP50"),
        ("mAP50(M)", "detect", "mAP50"),
        ("mAP50(M)", "pose", "mAP50(P)"),
        ("top-1", "classify", "did you mean top1"),
        ("train/box_loss", "detect", "there are precision, recall, mAP50, mAP50-95"),
        ("val/box_loss", "segment", "there are"),
        ("fitness", "detect", "there are"),
    ],
)
def test_another_metric_is_refused_with_the_nearest(name, task, near):
    with pytest.raises(YardError) as refused:
        metric_key(name, task)
    assert refused.value.reason is Reason.INVALID_FIELD
    assert near in refused.value.message


def test_losses_are_no_metrics_of_any_task():
    with pytest.raises(YardError):
        check_metric_name("train/box_loss")


@pytest.mark.parametrize(
    ("task", "key"),
    [("detect", "mAP50-95(B)"), ("obb", "mAP50-95(B)"), ("segment", "mAP50-95(M)"), ("pose", "mAP50-95(P)"), ("classify", "accuracy_top1")],
)
def test_what_a_task_is_judged_by(task, key):
    assert main_metric(task) == f"metrics/{key}"
    assert metric_key(main_metric(task), task) == main_metric(task)


def test_the_field_at_fault_is_named():
    with pytest.raises(YardError) as refused:
        metric_key("mAP51", "detect", "tuning_job.spec.metric")
    assert refused.value.metadata["field"] == "tuning_job.spec.metric"
