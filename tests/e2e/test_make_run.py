"""What `make run` runs, on a set of one's own: interrupted in the middle of its training and run again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from visionyard.local import leftovers, sample
from visionyard.local.state import StateDir

LISTENING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
"""A test run in the background of a shell has SIGINT ignored, and so would its children."""


@pytest.fixture
def here(tmp_path):
    """A folder to run in; nothing of the run's stack lives on afterwards."""
    yield tmp_path
    stack_id = StateDir(tmp_path / ".visionyard").stack_id()
    assert leftovers.find(stack_id) == []


def start(here, data):
    command = [
        sys.executable,
        "-m",
        "visionyard.local.demo",
        "--data",
        str(data),
        "--model",
        "yolov8n.yaml",
        "--epochs",
        "2",
        "--imgsz",
        "64",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VISIONYARD_")}
    return subprocess.Popen(
        [sys.executable, "-c", LISTENING, *command], cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_make_run_goes_on_after_ctrl_c_and_leaves_pictures_and_figures(here):
    sample.generate(here / "set", 20)
    labels = min((here / "set" / "labels" / "train").iterdir())
    boxes = sum(len(path.read_text().splitlines()) for path in (here / "set" / "labels").rglob("*.txt"))
    labels.write_text(labels.read_text() + "0 0.5 0.5 0 0.2\n")
    line = len(labels.read_text().splitlines())
    first = start(here, here / "set")
    said = ""
    while "job " not in said.partition("train: ")[2]:
        read = first.stderr.readline()
        assert read, said
        said += read
    time.sleep(1)
    first.send_signal(signal.SIGINT)
    _, rest = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "the same command goes on from here" in rest
    assert said.count(f"labels/train/{labels.name}:{line} ") == 1
    job = said.partition("train: ")[2].partition("job ")[2].split()[0].rstrip(":")

    again = start(here, here / "set")
    out, err = again.communicate(timeout=600)
    assert again.returncode == 0, err
    assert f"job {job} was begun by an earlier run of this command" in err
    assert [row.split()[0] for row in out.splitlines()] == ["start", "import", "train", "export", "deploy", "predict", "in"]
    summary = json.loads((here / "run" / "summary.json").read_text())
    assert (summary["error"], summary["dataset"]["image_count"], summary["dataset"]["splits"]) == (
        None,
        20,
        {"train": 14, "val": 4, "test": 2},
    )
    assert (summary["dataset"]["label_count"], summary["dataset"]["dropped_by_code"]) == (boxes, {"ZERO_AREA_BOX": 1})
    assert f"{boxes} of {boxes + 1} boxes" in out
    assert summary["model"]["job"].endswith(job)
    assert summary["model"]["version"].endswith("/versions/1")
    drawn = {path.name for path in (here / "run" / "predictions").iterdir()}
    assert drawn == {path.name for path in (here / "set" / "images" / "test").iterdir()}
