"""A search for people: its table, page and picture, and how far it is."""

import re
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import pytest
from google.protobuf import json_format

from visionyard.cli.tuning import plan_of
from visionyard.cli.tuning_chart import linear, logarithmic, picture
from visionyard.cli.tuning_progress import TuningProgress
from visionyard.cli.tuning_results import cells, page, ranked, summary, tuned
from visionyard.training.v1 import tuning_job_pb2

EVIL = "</svg><script>alert(1)</script>&\"'"


def trial(number, lr0, optimizer, state, results, **more):
    return {
        "number": number,
        "parameters": {"lr0": lr0, "optimizer": optimizer},
        "training_job": f"projects/default/trainingJobs/job{number}",
        "state": f"TRIAL_STATE_{state}",
        "rung": len(results) or 1,
        "epoch": results[-1][0] if results else 0,
        "results": [{"rung": n, "epochs": epochs, "value": value} for n, (epochs, value) in enumerate(results, 1)],
        **({"value": results[-1][1]} if results else {}),
        **more,
    }


@pytest.fixture
def job():
    document = {
        "name": "projects/default/tuningJobs/t1",
        "spec": {
            "training": {"model": "projects/default/models/cones", "dataset_version": "projects/default/datasets/cones/versions/2"},
            "parameters": [
                {"name": "lr0", "range": {"min": 0.0001, "max": 0.1, "log": True}},
                {"name": "optimizer", "choices": ["SGD", EVIL]},
            ],
            "trials": 9,
            "metric": "metrics/mAP50-95(B)",
        },
        "rungs": [{"trials": 9, "epochs": 3}, {"trials": 3, "epochs": 9}, {"trials": 1, "epochs": 27}],
        "trials": [
            trial(1, 0.001, "SGD", "STOPPED", [(3, 0.6)]),
            trial(2, 0.01, EVIL, "COMPLETED", [(3, 0.3), (9, 0.4), (27, 0.512345)]),
            trial(3, 0.05, "SGD", "FAILED", [], error={"message": "no memory"}),
            trial(4, 0.002, "SGD", "RUNNING", [(3, 0.5)], value=0.45, epoch=5),
        ],
        "best_trial": 2,
        "model_version": "projects/default/models/cones/versions/7",
        "stopped_early": "it is late",
    }
    return json_format.ParseDict(document, tuning_job_pb2.TuningJob())


def test_the_best_comes_first_and_who_has_nothing_last(job, capsys):
    assert [found.number for found in ranked(job)] == [2, 1, 4, 3]
    headers, rows = cells(job)
    assert headers == ["TRIAL", "mAP50-95(B)", "EPOCHS", "STATE", "lr0", "optimizer", "JOB"]
    assert rows[1] == ["1", "0.6", "3", "stopped", "0.001", "SGD", "job1"]
    assert rows[3][:4] == ["3", "", "0", "failed"]
    tuned(job)
    told = capsys.readouterr().out
    assert told.splitlines()[0].split() == headers
    assert "cones@7: the best of 4 trials is trial 2: mAP50-95(B) 0.5123 after 27 epochs" in told
    assert "it stopped early: it is late" in told


def test_what_was_found_can_be_typed(job):
    job.trials[1].parameters.update({"optimizer": "AdamW", "amp": False})
    assert "train with what it found: yard train ... --set amp=false --set lr0=0.01 --set optimizer=AdamW" in summary(job)


def test_a_search_without_a_result():
    job = tuning_job_pb2.TuningJob(rungs=[tuning_job_pb2.TuningRung(trials=3, epochs=1)])
    job.spec.metric = "metrics/mAP50(B)"
    job.spec.parameters.add(name="lr0", range=tuning_job_pb2.TuningRange(min=0, max=1))
    assert summary(job) == []
    assert cells(job)[1] == []
    ET.fromstring(picture(job))
    assert "<table>" in page(job)


def test_the_picture_is_one_svg_file_with_all_results(job):
    root = ET.fromstring(picture(job))
    space = "{http://www.w3.org/2000/svg}"
    drawn = root.findall(f"{space}svg")
    assert [chart.find(f"{space}text").text for chart in drawn] == ["Trials from rung to rung", "lr0", "optimizer"]
    assert [len(chart.findall(f".//{space}circle")) for chart in drawn] == [5, 3, 3], "a dot a result, a dot a trial that has one"
    for chart in drawn:
        for circle in chart.iter(f"{space}circle"):
            assert 62 <= float(circle.get("cx")) <= 406
            assert 34 <= float(circle.get("cy")) <= 236


def test_the_page_needs_nothing_and_escapes_what_strangers_wrote(job):
    text = page(job)
    assert EVIL not in text
    assert "&lt;script&gt;" in text
    assert "default-src 'none'" in text
    assert not re.findall(r"(?:src|href)\s*=|url\(|@import|https?://", text)
    assert text.count("<svg ") == 3


def test_axes():
    axis = logarithmic("lr0", 1e-4, 1e-1)
    assert [label for _, label in axis.ticks] == ["0.0001", "0.001", "0.01", "0.1"]
    assert 0 < axis.place(1e-4) < axis.place(1e-3) < axis.place(1e-1) < 1
    assert len(logarithmic("x", 0.01, 0.02).ticks) >= 2
    for low, high in ((0, 1), (0.41, 0.42), (5, 20), (0.5, 0.5), (0, 0), (-3, 1e6)):
        axis = linear("x", low, high)
        assert 2 <= len(axis.ticks) <= 8
        assert 0 <= axis.place(low) <= axis.place(high) <= 1


def test_without_a_terminal_each_step_of_a_trial_is_a_line(job):
    lines = []
    show = TuningProgress(SimpleNamespace(say=lines.append))
    show._terminal = False
    with show:
        show(SimpleNamespace(job=job))
        show(SimpleNamespace(job=job))
        assert len(lines) == 4
        assert lines[0] == "trial 1 (lr0 0.001, optimizer SGD): stopped, rung 1, mAP50-95(B) 0.6"
        assert lines[2].endswith("failed, rung 1: no memory")
        job.trials[3].state = tuning_job_pb2.TRIAL_STATE_STOPPED
        show(SimpleNamespace(job=job))
    assert lines[4:] == ["trial 4 (lr0 0.002, optimizer SGD): stopped, rung 1, mAP50-95(B) 0.45"]


def test_on_a_terminal_it_is_a_table(job, capsys, monkeypatch):
    show = TuningProgress(SimpleNamespace())
    show._terminal = True
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with show:
        show(SimpleNamespace(job=job))
    assert "0.5123" in capsys.readouterr().err


def test_the_plan_in_words(job):
    assert plan_of(job) == "9 trials to 3 epochs, 3 to 9, 1 to 27"
