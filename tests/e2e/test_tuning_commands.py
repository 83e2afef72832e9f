"""`yard tune` on a real stack: a search to its end with page and picture, one that its time limit ends, and one that is left alone and cancelled."""

import json
import time
import xml.etree.ElementTree as ET

import pytest
from command_tree import cancelled, covers, refused

pytestmark = pytest.mark.timeout(900)

SPACE = "lr0: {min: 0.001, max: 0.01, log: true}\noptimizer: [AdamW, SGD]\n"
QUICK = "--model", "tiny@1", "--batch", 4, "--imgsz", 64, "--set", "plots=no", "--set", "workers=0", "--set", "mosaic=0"


def space_file(folder, text=SPACE):
    path = folder / "space.yaml"
    path.write_text(text)
    return path


@pytest.mark.long
@covers("tune", "--model", "--space", "--trials", "--epochs", "--batch", "--imgsz", "--set", "--name", "--metric", "--html", "--plot")
def test_tune(stack, line, tmp_path):
    page, plot = tmp_path / "tuned.html", tmp_path / "tuned.svg"
    words = "--space", space_file(tmp_path), "--trials", 3, "--epochs", 3, "--name", "found", "--metric", "mAP50"
    job = stack.json("tune", "tiny", *QUICK, *words, "--html", page, "--plot", plot)["tuning_job"]
    assert job["status"]["state"] == "JOB_STATE_SUCCEEDED"
    assert [(rung["trials"], rung["epochs"]) for rung in job["rungs"]] == [(3, 1), (1, 3)]
    assert [trial["number"] for trial in job["trials"]] == [1, 2, 3]
    best = job["trials"][job["best_trial"] - 1]
    assert [result["epochs"] for result in best["results"]] == [1, 3]
    assert (best["state"], best["value"]) == ("TRIAL_STATE_COMPLETED", best["results"][-1]["value"])
    assert 0.001 <= best["parameters"]["lr0"] <= 0.01
    assert job["model_version"].endswith("/models/found/versions/1")
    version = stack.json("model", "show", "found")["model_version"]
    assert version["training_job"] == best["training_job"]
    assert version["metrics"]["metrics/mAP50(B)"] == best["value"]
    trained = stack.json("job", "show", best["training_job"])["training_job"]
    assert (trained["tuning_job"], trained["resumptions"], trained["spec"]["overrides"]["mosaic"]) == (job["name"], 1, 0)
    assert "default-src 'none'" in page.read_text()
    assert ET.parse(plot).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    listed = stack.json("job", "list", "--kind", "tune")["tuning_jobs"]
    assert [found["name"] for found in listed] == [job["name"]]
    assert listed[0]["trials"] == [], "lists leave them out"
    assert stack.json("job", "show", job["name"])["tuning_job"] == job
    assert f"found@1: the best of 3 trials is trial {job['best_trial']}" in stack.yard("job", "show", job["name"]).stdout


@covers("tune", "--detach", "--parallel", "--priority", "--seed", "--eta", "--min-epochs", "--time-limit")
def test_tune_detached_limited_and_cancelled(stack, line, tmp_path):
    words = (
        "--space",
        space_file(tmp_path),
        "--trials",
        4,
        "--epochs",
        8,
        "--eta",
        2,
        "--min-epochs",
        4,
        "--seed",
        5,
        "--parallel",
        1,
        "--priority",
        3,
    )
    job = stack.json("tune", "tiny", *QUICK, *words, "--time-limit", "1s", "--detach")["tuning_job"]
    assert [(rung["trials"], rung["epochs"]) for rung in job["rungs"]] == [(4, 4), (2, 8)]
    assert (job["spec"]["seed"], job["spec"]["time_limit"]) == (5, "1s")
    watched = stack.yard("job", "watch", job["name"], "--json")
    ended = json.loads(watched.stdout.splitlines()[-1])["tuning_job"]
    assert ended["status"]["state"] == "JOB_STATE_SUCCEEDED"
    assert len(ended["trials"]) == 1, "one at once, and after it the time is up"
    assert ended["stopped_early"].endswith("s, and the limit is 1 s")
    first = stack.json("job", "show", ended["trials"][0]["training_job"])["training_job"]
    assert first["scheduling"]["priority"] == 3

    assert stack.json("job", "report", job["name"])["tuning_job"] == stack.json("job", "show", job["name"])["tuning_job"]
    written = stack.json("job", "report", job["name"], "--html", tmp_path / "search.html")
    assert written["size_bytes"] == (tmp_path / "search.html").stat().st_size > 1000
    assert "the limit is 1 s" in (tmp_path / "search.html").read_text()

    again = stack.json("tune", "tiny", *QUICK, *words, "--detach")["tuning_job"]["name"]
    while not (trials := stack.json("job", "show", again)["tuning_job"]["trials"]):
        time.sleep(0.5)
    assert trials[0]["parameters"] == ended["trials"][0]["parameters"], "the same seed"
    cancelled(stack, again)
    shown = stack.json("job", "show", again)["tuning_job"]
    assert (shown["status"]["state"], shown["trials"][0]["state"]) == ("JOB_STATE_CANCELLED", "TRIAL_STATE_CANCELLED")
    assert stack.json("job", "cancel", again)["tuning_job"] == shown, "twice is no error"
    assert refused(stack, "job", "cancel", job["name"])["reason"] == "JOB_FINISHED"


@covers("tune", "--gpus", "--nodes", "--launcher", "--pretrained")
def test_trials_train_as_they_are_told(stack, line, tmp_path):
    words = "tune", "tiny", "--epochs", 50, "--space", space_file(tmp_path), "--trials", 2, "--batch", 4, "--imgsz", 64, "--detach"
    job = stack.json(*words, "--model", "yolov8n.yaml", "--pretrained", "tiny@1", "--gpus", 2, "--launcher", "local")["tuning_job"]
    spec = job["spec"]["training"]
    assert (spec["gpus"], spec["launcher"]) == (2, "LAUNCHER_LOCAL")
    assert spec["pretrained_model_version"].endswith("/models/tiny/versions/1")
    cancelled(stack, job["name"])
    error = refused(stack, *words, "--model", "tiny@1", "--nodes", 2, "--launcher", "ray")
    assert (error["reason"], error["metadata"]["field"]) == ("INVALID_FIELD", "training_job.spec.launcher")
    assert refused(stack, *words, "--model", "tiny@1", "--pretrained", "tiny@1")["reason"] == "INVALID_FIELD"


@covers("tune", "--budget")
def test_a_budget_needs_a_price(stack, line, tmp_path):
    words = "tune", "tiny", *QUICK, "--space", space_file(tmp_path), "--trials", 2
    assert refused(stack, *words, "--budget", 3)["reason"] == "PRICE_UNKNOWN"
    assert refused(stack, *words, "--budget", 0, code=2)["reason"] == "USAGE"


def test_what_cannot_be_searched_is_refused_before_anything_begins(stack, line, tmp_path):
    def error(space, *words, code=1):
        return refused(stack, "tune", "tiny", *QUICK, "--space", space_file(tmp_path, space), "--trials", 2, *words, code=code)

    found = error("lrO: [0.1, 0.2]\n")
    assert found["reason"] == "UNKNOWN_ARGUMENT"
    assert "lr0" in found["message"]
    assert error("epochs: [1, 2]\n")["reason"] == "RESERVED_ARGUMENT"
    assert error("mosaic: [0, 1]\n")["reason"] == "INVALID_FIELD", "it is set for all trials"
    assert error("lr0: !!python/name:os.system\n")["reason"] == "INVALID_FIELD"
    assert error(SPACE, "--metric", "mAP51")["reason"] == "INVALID_FIELD"
    assert error(SPACE, "--time-limit", "soon", code=2)["reason"] == "USAGE"
    assert error(SPACE, "--plot", tmp_path / "a.png", code=2)["reason"] == "USAGE"
    assert stack.yard("tune", "tiny", "--model", "tiny@1", "--space", tmp_path / "none.yaml", "--trials", 2).returncode == 1
