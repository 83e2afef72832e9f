"""The charts and pages of reports: what they draw, and that strangers' names stay words."""

import io
import re
import zipfile
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.training.estimates.estimates import MachineEstimate
from visionyard.training.estimates.estimator import Basis, Expectation
from visionyard.training.estimates.machine import Machine
from visionyard.training.estimates.measured import MeasuredMachine
from visionyard.training.estimates.price import Price
from visionyard.training.limits import Spent
from visionyard.training.report_mapping import report_to_proto
from visionyard.training.reports.charts import epoch_charts, line_chart, matrix, nice_ticks, phase_bars
from visionyard.training.reports.comparison_page import render_comparison
from visionyard.training.reports.findings import Picture, Subject, summarise
from visionyard.training.reports.matching import Found
from visionyard.training.reports.page import polygon, render_report
from visionyard.training.reports.report import TrainingReport, images_per_second, thinned

EVIL = '<script src="http://x">"&'


def test_ticks_are_round_and_hold_what_they_are_for():
    for low, high in ((0, 1), (0, 0.0031), (1, 100), (-3, 2.2), (5, 5), (0, 0), (1e6, 3e6)):
        ticks = nice_ticks(low, high)
        assert ticks[0] <= low
        assert ticks[-1] >= high
        assert 2 <= len(ticks) <= 8


def test_lines_stay_on_the_plane_and_a_single_epoch_is_drawn():
    chart = line_chart("loss", {"train": [(1, 3.0), (2, 1.5), (3, 0.5)]}, "epoch", mark=2)
    points = [tuple(map(float, pair.split(","))) for pair in chart.lines[0].points.split()]
    assert points[0] == (0, 0.0) or points[0][1] < points[1][1] < points[2][1] <= 180
    assert [x for x, _ in points] == [0, 150, 300]
    assert (chart.mark, chart.lines[0].last) == (150, "0.5")
    alone = line_chart("loss", {"train": [(1, 3.0)]}, "epoch")
    assert alone.lines[0].points.startswith("150.0,")


def test_losses_of_training_and_validation_share_a_chart():
    rows = [(at, {"train/box_loss": 1.0, "val/box_loss": 2.0, "metrics/mAP50(B)": 0.4, "lr/pg0": 0.1, "time": 3.0}) for at in (1, 2)]
    charts = epoch_charts(rows, 2)
    assert [chart.title for chart in charts] == ["metrics of boxes", "box loss", "learning rate"]
    assert [line.name for line in charts[1].lines] == ["train", "val"]


def test_of_many_epochs_some_are_kept():
    rows = [(at, {"x": float(at)}) for at in range(1, 5001)]
    kept = [epoch for epoch, _ in thinned(rows, 1234)]
    assert len(kept) <= 1000
    assert {1, 5000, 1234} <= set(kept)
    assert thinned(rows[:9], 3) == rows[:9]


def test_phases_fill_the_bar():
    bars = phase_bars({"start": 1, "fetch": 0, "data": 1, "training": 6, "validation": 1, "saving": 1})
    assert sum(bar.percent for bar in bars) == pytest.approx(100)
    assert bars[3].begin == 20
    assert all(bar.percent == 0 for bar in phase_bars({}))
    assert images_per_second({"images": 70, "seconds": {"data": 1, "training": 6}}) == 10
    assert images_per_second({}) == 0


def test_the_matrix_shows_the_classes_with_the_most_errors():
    names = [f"c{at}" for at in range(30)]
    pictures = [Picture(f"val/{at}", true_class=at, predicted_class=29 - at) for at in range(10)]
    shown = matrix(summarise(Subject("classify", "val", names, {}, 1.0), pictures, 0.25))
    assert shown.left_out == 10
    assert {f"c{at}" for at in (*range(10), *range(20, 30))} == set(shown.names)


def test_boxes_have_four_corners():
    assert polygon([1, 2, 3, 4]) == "1,2 3,2 3,4 1,4"
    assert polygon([1, 2, 3, 4, 5, 6, 7, 8]) == "1,2 3,4 5,6 7,8"
    assert polygon([]) == ""


def job(state=JobState.SUCCEEDED, kind=JobKind.TRAINING, **fields):
    spec = {"model": "projects/p/models/m", "dataset_version": "projects/p/datasets/d/versions/1"}
    spec |= {"first_model_version": "projects/p/models/m/versions/1", "second_model_version": "projects/p/models/n/versions/2"}
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return Job(ResourceName("p", kind.collection, "j"), kind, spec, state, 1, start, "r", start_time=start, end_time=start, **fields)


def findings():
    pictures = [Picture(f"val/{EVIL}{at}", true_class=0, predicted_class=1, confidence=0.7) for at in range(3)]
    document = summarise(Subject("classify", "val", (EVIL, "b"), {"metrics/accuracy_top1": 0.0}, 9.0), pictures, 0.25)
    document["images"][0] |= {"thumbnail": "0001.jpg", "width_px": 8, "height_px": 8}
    return document


def thumbnails():
    _, encoded = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("0001.jpg", encoded.tobytes())
    return held.getvalue()


def harmless(page):
    text = page.decode()
    assert "<script" not in text
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?\s*(https?:|//)""", text)
    assert "default-src 'none'" in text
    return text


def test_the_page_of_a_training_escapes_names_and_draws_what_is_wrong():
    store = MemoryObjectStore()
    store.put("pictures", thumbnails())
    rows = [(1, {"train/loss": 1.0, "metrics/accuracy_top1": 0.4}), (2, {"train/loss": 0.5, "metrics/accuracy_top1": 0.6})]
    measured = {"seconds": {"training": 3.0}, "images": 12, "best_epoch": 2}
    measured["gpu"] = {"name": "G", "samples": 4, "utilisation_sum": 2.0, "peak_memory_bytes": 10**9, "memory_bytes": 8 * 10**9}
    done = job(pointers={"files": {"report-pictures.zip": {"key": "pictures"}}})
    text = harmless(render_report(store, TrainingReport(done, "cuda:0 (G)", 2, 2, measured, rows, findings())))
    assert "data:image/jpeg;base64," in text
    assert text.count("<polyline") >= 2
    assert "50 %" in text


@pytest.mark.parametrize("rate", [0.00117, 0.000112, 0.0000112, 1.12e6, -0.00117])
def test_the_labels_of_an_axis_stand_within_the_picture(rate):
    rows = [(1, {"lr/pg0": rate}), (2, {"lr/pg0": rate / 2})]
    text = harmless(render_report(MemoryObjectStore(), TrainingReport(job(), "", 2, 2, {}, rows)))
    room = -float(re.search(r'viewBox="(-\d+) [^>]*aria-label="learning rate"', text)[1])
    labels = [(float(x), label) for x, label in re.findall(r'<text x="(-\d+)"[^>]*text-anchor="end">([^<]+)<', text)]
    assert max(len(label) for _, label in labels) >= 7
    digit_px = 0.64 * 12  # of page.html.j2's letters, the widest fonts' digits
    assert all(len(label) * digit_px <= room + x for x, label in labels)


@pytest.mark.parametrize(("confidence", "best"), [(0.9, True), (0.1, False)])
def test_a_confidence_is_called_the_best_only_where_something_right_is_found(confidence, best):
    box, confidences = np.array([[1, 1, 5, 5]], np.float32), np.array([confidence], np.float32)
    a_cone = np.array([0], np.int32)
    picture = Picture("val/1.jpg", 8, 8, Found(confidences, a_cone, box, a_cone, box, ((0, 0, 1.0),)))
    found = summarise(Subject("detect", "val", ("cone",), {"metrics/mAP50(B)": 0.0}, 9.0), [picture], 0.25)
    text = harmless(render_report(MemoryObjectStore(), TrainingReport(job(), "", 1, 1, {}, [], found)))
    assert "from a confidence of 0.25 on" in text
    assert ("where the mean F1 is best" in text, "none of them is right" in text) == (best, not best)


def test_the_page_of_a_training_that_has_not_ended_says_so():
    text = harmless(render_report(MemoryObjectStore(), TrainingReport(job(JobState.RUNNING), "", 0, 0)))
    assert "has not ended" in text
    assert "No epoch is stored yet" in text


def estimated(price):
    machine = MeasuredMachine(Machine("CPU", 2, 8 << 30), price=price)
    parts = {"start_up_s": 60.0, "epoch_s": 300.0, "first_extra_s": 0.0, "end_s": 60.0, "seconds": 7200.0}
    return MachineEstimate(
        machine, own=True, expectation=Expectation(**parts, basis=Basis.SAME, rests_on=3, past_error_ratio=0.1, past_estimates=3)
    )


def test_a_report_says_what_was_expected_and_what_it_has_cost():
    pointers = {"spent": Spent(5400, 3.0, "EUR").to_json(), "estimate": estimated(Price("EUR", per_hour=2.0)).to_json()}
    report = TrainingReport(job(pointers=pointers), "", 2, 2)
    text = harmless(render_report(MemoryObjectStore(), report))
    assert "<b>3.00 EUR</b><span>cost</span>" in text
    assert "<b>2 h 0 min</b><span>estimated, 4.00 EUR</span>" in text
    message = report_to_proto(report)
    assert (message.cost.training_time.seconds, message.cost.amount, message.cost.currency) == (5400, 3.0, "EUR")
    assert (message.estimate.expected_duration.seconds, message.estimate.expected_cost) == (7200, 4.0)


def test_without_a_price_a_report_has_times_and_no_cost():
    pointers = {"spent": Spent(5400).to_json(), "estimate": estimated(None).to_json()}
    report = TrainingReport(job(pointers=pointers), "", 2, 2)
    text = harmless(render_report(MemoryObjectStore(), report))
    assert "<span>cost</span>" not in text
    assert "<b>2 h 0 min</b><span>estimated</span>" in text
    message = report_to_proto(report)
    assert (message.cost.training_time.seconds, message.cost.amount, message.cost.currency) == (5400, 0, "")
    assert not report_to_proto(TrainingReport(job(), "", 0, 0)).HasField("estimate")


def test_the_page_of_two_models_shows_where_one_is_wrong():
    store = MemoryObjectStore()
    store.put("pictures", thumbnails())
    right = summarise(Subject("classify", "val", (EVIL, "b"), {"metrics/accuracy_top1": 1.0}, 9.0), [], 0.25)
    one = {"model_version": "projects/p/models/m/versions/1", "parameter_count": 5, "findings": right, "pictures": {"key": "pictures"}}
    two = {**one, "model_version": "projects/p/models/n/versions/2", "findings": findings()}
    image = {"image": f"val/{EVIL}0", "false_positive_count": 1, "false_negative_count": 1}
    only = [{"count": 1, "images": [image]}, {"count": 0, "images": []}]
    document = {"models": [one, two], "only_right": only, "both_wrong": 0, "both_right": 2}
    text = harmless(render_comparison(store, job(kind=JobKind.EVALUATION), document))
    assert text.count("data:image/jpeg") == 1
    assert "Where only m@1 is right" in text
