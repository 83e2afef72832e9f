"""Every command of `yard` on a real stack: each gives valid JSON, and each option changes something that can be seen. Nothing in the tree is left out."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from embedded import YARD

from visionyard.cli import app

COVERED = set()
EVERYWHERE = {"--json", "--dir", "--help"}


def covers(command, *options):
    """Says which command, and which of its own options, a test shows to work."""
    COVERED.update({(command, None), *((command, option) for option in options)})
    return lambda function: function


def leaves(command, path=()):
    commands = getattr(command, "commands", {})
    if not commands:
        yield " ".join(path), {option for p in command.params for option in p.opts if option.startswith("--")} - EVERYWHERE
    for name, sub in commands.items():
        yield from leaves(sub, (*path, name))


def test_every_command_and_option_is_covered_below():
    tree = {(path, option) for path, options in leaves(app.build()) for option in (None, *options)}
    assert tree == COVERED


@pytest.fixture(scope="module")
def picture(line):
    return next((line["folder"] / "images" / "val").iterdir())


def refused(stack, *words, code=1, **environment):
    done = stack.yard(*words, "--json", **environment)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    return json.loads(done.stderr.splitlines()[-1])["error"]


def cancelled(stack, name):
    """Cancels a job and waits until it has ended."""
    stack.json("job", "cancel", name)
    done = stack.yard("job", "watch", name, "--json")
    assert json.loads(done.stdout.splitlines()[-1]), done.stderr


@covers("up", "--detach", "--any-port")
def test_up(stack, tmp_path):
    again = stack.json("up", "--detach")
    assert again["already"] is True
    assert again["state_dir"] == str(stack.home)
    assert {"store", "triton", "dataset", "training", "export", "inference", "supervisor"} <= {p["name"] for p in again["processes"]}
    with socket.socket() as taken:
        with suppress(OSError):  # somebody else, this very stack perhaps, has the port already
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", 50051))
            taken.listen()
        second = [YARD, "up", "--detach", "--json", "--dir", tmp_path / "second"]
        clash = subprocess.run(second, capture_output=True, text=True, env=stack.environment, check=False)
    assert clash.returncode == 1
    message = json.loads(clash.stderr.splitlines()[-1])["error"]["message"]
    assert "50051" in message
    assert "--any-port" in message


@covers("down")
def test_down(stack, tmp_path):
    nothing = subprocess.run([YARD, "down", "--json", "--dir", tmp_path / "none"], capture_output=True, text=True, check=True)
    assert json.loads(nothing.stdout)["stopped"] is False


@covers("status")
def test_status(stack):
    found = stack.json("status")
    assert found["state_dir"] == str(stack.home)
    for process in found["processes"]:
        assert {"name", "pid", "address", "metrics_address", "state"} <= set(process)
        assert process["state"] == "running"


@covers("sample")
def test_sample(stack, tmp_path):
    found = stack.json("sample", tmp_path / "s")
    counted = {split.name: len(list(split.iterdir())) for split in (tmp_path / "s" / "images").iterdir()}
    assert {s["name"]: s["image_count"] for s in found["splits"]} == counted
    assert refused(stack, "sample", tmp_path / "s")["message"]


@covers("dataset import", "--name", "--format", "--split", "--seed", "--detach")
def test_dataset_import(stack, line):
    folder = line["folder"]
    made = line["import"]["import_job"]
    assert made["status"]["state"] == "JOB_STATE_SUCCEEDED"
    assert made["dataset_version"]["name"].endswith("/datasets/tiny/versions/1")
    assert refused(stack, "dataset", "import", folder, "--name", "wrong", "--format", "voc")["code"] == "INVALID_ARGUMENT"
    digests = set()
    for seed in (1, 2):
        drawn = stack.json("dataset", "import", folder, "--name", "drawn", "--split", "0.5,0.25,0.25", "--seed", seed)["import_job"]
        assert drawn["spec"]["split_ratios"] == [0.5, 0.25, 0.25]
        assert {s["name"]: int(s["image_count"]) for s in drawn["dataset_version"]["splits"]}["train"] < 14
        digests.add(drawn["dataset_version"]["digest"])
    assert len(digests) == 2
    queued = stack.json("dataset", "import", folder, "--name", "later", "--detach")["import_job"]
    assert "dataset_version" not in queued
    assert stack.yard("job", "watch", queued["name"]).returncode == 0
    assert stack.json("dataset", "show", "later")["dataset_version"]["digest"] == made["dataset_version"]["digest"]


@covers("dataset list")
def test_dataset_list(stack, line):
    found = stack.json("dataset", "list")
    assert found["next_page_token"] == ""
    assert "projects/default/datasets/tiny" in [d["name"] for d in found["datasets"]]
    assert stack.json("dataset", "list", VISIONYARD_PROJECT="other") == {"datasets": [], "next_page_token": ""}


@covers("dataset show")
def test_dataset_show(stack, line):
    assert stack.json("dataset", "show", "tiny") == stack.json("dataset", "show", "tiny@1")
    assert refused(stack, "dataset", "show", "tiny@9")["reason"] == "DATASET_VERSION_NOT_FOUND"
    text = stack.yard("dataset", "show", "tiny").stdout
    assert "\x1b" not in text
    assert "tiny@1" in text


@covers("dataset show", "--open", "--html", "--split", "--class", "--count", "--seed")
def test_dataset_show_pictures(stack, line, tmp_path):
    page = tmp_path / "pictures.html"
    made = stack.json("dataset", "show", "tiny", "--html", page)
    assert (made["image_count"], made["opened"], made["file"]) == (20, False, str(page))
    whole = page.read_text()
    assert whole.count("data:image/jpeg;base64,") == whole.count("<img") == 20
    assert stack.json("dataset", "show", "tiny", "--html", page, "--split", "val")["image_count"] == 4
    name = max(stack.json("dataset", "show", "tiny")["dataset_version"]["classes"], key=lambda c: int(c["label_count"]))["name"]
    labelled = stack.json("dataset", "show", "tiny", "--html", page, "--class", name)["image_count"]
    assert 0 < labelled == page.read_text().count(f" {name}")
    assert refused(stack, "dataset", "show", "tiny", "--html", page, "--class", "nothing")["reason"] == "INVALID_FIELD"
    drawn = set()
    for seed in (1, 1, 2):
        assert stack.json("dataset", "show", "tiny", "--html", page, "--count", 5, "--seed", seed)["image_count"] == 5
        drawn.add(page.read_text())
    assert len(drawn) == 2
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o700)
    opened = stack.json("dataset", "show", "tiny", "--open", "--count", 1, BROWSER=f"{browser} %s")
    assert opened["opened"]
    address = (tmp_path / "opened").read_text().strip()
    assert address.removeprefix("file://") == opened["file"].replace("@", "%40")
    shutil.rmtree(Path(opened["file"]).parent)


@covers("dataset report", "--html")
def test_dataset_report(stack, line, tmp_path):
    report = stack.json("dataset", "report", "tiny")["report"]
    assert {"findings", "images", "labels", "dropped_by_code"} <= set(report)
    assert int(report["images"]["found"]) == 20
    page = tmp_path / "report.html"
    made = stack.json("dataset", "report", "tiny", "--html", page)
    assert (made["file"], made["size_bytes"]) == (str(page), page.stat().st_size)
    text = page.read_text()
    assert "tiny@1" in text
    assert all(finding["code"] in text for finding in report["findings"])
    assert "data:image/jpeg;base64," in text
    assert "http" not in text.replace("http-equiv", "")
    assert refused(stack, "dataset", "report", "tiny", "--html", tmp_path / "no" / "folder.html")["reason"] == "INVALID_FIELD"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html"]


@covers("dataset download", "--to")
def test_dataset_download(stack, line, tmp_path):
    found = stack.json("dataset", "download", "tiny", "--to", tmp_path / "set")
    names = yaml.safe_load((tmp_path / "set" / "data.yaml").read_text())["names"]
    assert len(names) == len(stack.json("dataset", "show", "tiny")["dataset_version"]["classes"])
    files = [p for p in (tmp_path / "set").rglob("*") if p.is_file()]
    assert (len(files), sum(p.stat().st_size for p in files)) == (found["file_count"], found["total_bytes"])


@covers("dataset delete", "--dry-run")
@covers("storage show")
@covers("storage collect", "--grace", "--dry-run")
def test_deletion_and_collection(stack, line, tmp_path):
    folder = tmp_path / "own"
    stack.json("sample", folder)
    made = stack.json("dataset", "import", folder, "--name", "own")["import_job"]["dataset_version"]
    used = refused(stack, "dataset", "delete", "tiny")
    assert (used["code"], used["reason"]) == ("FAILED_PRECONDITION", "DATASET_IN_USE")
    assert "projects/default/models/tiny/versions/1" in used["metadata"]["used_by"]
    before = stack.keys()
    for words in (("own",), ("own@1",)):
        planned = stack.json("dataset", "delete", *words, "--dry-run")["deletion"]
        assert planned["versions"] == [made["name"]]
        assert int(planned["freeable_bytes"]) >= int(made["total_bytes"])
    assert stack.keys() == before
    assert stack.json("dataset", "delete", "own")["deletion"] == planned
    assert refused(stack, "dataset", "delete", "own@1")["reason"] == "DATASET_NOT_FOUND"
    shown = stack.json("storage", "show")["storage"]
    unreferenced = {use["kind"]: int(use["unreferenced"]["bytes"]) for use in shown["uses"]}
    own = int(made["stored_bytes"]) * 0.9  # some of its images are the tiny set's too, and the index is not counted here
    assert unreferenced["STORAGE_KIND_SHARDS"] >= own
    assert shown["quota_bytes"] == "0", "the disk is the limit"
    young = stack.json("storage", "collect", "--grace", "12h")["collection"]
    assert (young["freed_bytes"], int(young["young"]["bytes"]) > 0) == ("0", True)
    rehearsed = stack.json("storage", "collect", "--grace", "0s", "--dry-run")["collection"]
    assert int(rehearsed["freed_bytes"]) >= own
    freed = stack.json("storage", "collect", "--grace", "0s")["collection"]
    assert int(freed["freed_bytes"]) >= own
    assert freed["unknown_keys"] == []
    assert stack.json("storage", "collect", "--grace", "0s")["collection"]["freed_bytes"] == "0"
    assert "freed 0 B" in stack.yard("storage", "collect", "--grace", "0s").stdout
    assert "shards" in stack.yard("storage", "show").stdout
    assert stack.yard("storage", "collect", "--grace", "soon").returncode == 2
    kept = stack.json("dataset", "download", "tiny", "--to", tmp_path / "kept")
    assert int(kept["file_count"]) == 1 + 2 * int(line["import"]["import_job"]["dataset_version"]["image_count"])


@covers("train", "--model", "--name", "--epochs", "--batch", "--imgsz", "--set", "--detach")
def test_train(stack, line, tmp_path):
    assert line["train"]["training_job"]["status"]["state"] == "JOB_STATE_SUCCEEDED"
    job = stack.json(
        "train", "tiny@1", "--model", "tiny@1", "--name", "other", "--epochs", 50, "--batch", 3, "--imgsz", 96, "--set", "lr0=1e-3", "--set", "plots=no", "--detach"
    )["training_job"]  # fmt: skip
    spec = job["spec"]
    assert job["status"]["state"] == "JOB_STATE_QUEUED"
    assert (spec["epochs"], spec["batch_size"], spec["image_size_px"]) == (50, 3, 96)
    assert spec["overrides"] == {"lr0": 0.001, "plots": False}
    assert spec["model"].endswith("/models/other")
    assert spec["model_version"].endswith("/models/tiny/versions/1")
    cancelled(stack, job["name"])
    default = stack.json("train", "tiny", "--model", "yolov8n.yaml", "--detach")["training_job"]
    assert default["spec"]["model"].endswith("/models/tiny"), "named after the dataset"
    assert default["spec"]["architecture"] == "yolov8n.yaml"
    cancelled(stack, default["name"])
    assert refused(stack, "train", "tiny", "--model", "tiny", "--set", "epoch=3")["reason"] == "UNKNOWN_ARGUMENT"


@covers("model push", "--name")
@covers("model download", "--to")
def test_a_model_comes_down_and_goes_up_again(stack, line, tmp_path):
    files = stack.json("model", "download", "tiny@1", "--to", tmp_path / "w")["files"]
    weights = next(tmp_path / "w" / f["path"] for f in files if f["path"].endswith(".pt"))
    copy = shutil.copy(weights, tmp_path / "mine.pt")
    pushed = stack.json("model", "push", copy, "--name", "mine")["model_version"]
    assert pushed["name"].endswith("/models/mine/versions/1")
    assert pushed["digest"] == stack.json("model", "show", "tiny@1")["model_version"]["digest"]
    assert stack.json("model", "push", copy, "--name", "mine")["model_version"]["name"] == pushed["name"], "the same bytes, no new version"
    job = stack.json("train", "tiny", "--model", copy, "--epochs", 50, "--detach")["training_job"]
    assert job["spec"]["model_version"] == pushed["name"], "a file whose bytes are there is not pushed again"
    cancelled(stack, job["name"])


@covers("model list")
@covers("model show")
def test_models(stack, line):
    assert "projects/default/models/tiny" in [m["name"] for m in stack.json("model", "list")["models"]]
    assert stack.json("model", "show", "tiny@1")["model_version"]["training_job"] == line["train"]["training_job"]["name"]
    assert refused(stack, "model", "show", "nowhere")["reason"] == "MODEL_NOT_FOUND"


@covers("export", "--format", "--data", "--detach")
def test_export(stack, line):
    job = stack.json("export", "tiny@1", "--format", "onnx", "--data", "tiny@1", "--detach")["export_job"]
    assert job["spec"]["dataset_version"].endswith("/datasets/tiny/versions/1")
    assert job["spec"]["format"] == "ARTIFACT_FORMAT_ONNX"
    assert stack.yard("job", "watch", job["name"]).returncode == 0
    assert stack.yard("export", "tiny", "--format", "onxx").returncode == 2


@covers("deploy", "--name", "--artifact", "--letterbox")
@covers("deployment list")
@covers("deployment show")
@covers("deployment delete")
def test_deployments(stack, line):
    key = line["export"]["export_job"]["artifact"]["name"].rpartition("/")[2]
    made = stack.json("deploy", "tiny@1", "--name", "short-lived", "--artifact", key[:10], "--letterbox", "square")["deployment"]
    assert (made["state"], made["letterbox"]) == ("DEPLOYMENT_STATE_READY", "LETTERBOX_SQUARE")
    assert made["artifact"].endswith(key)
    changed = stack.json("deploy", "tiny@1", "--name", "short-lived", "--letterbox", "rect")["deployment"]
    assert (changed["state"], changed["letterbox"]) == ("DEPLOYMENT_STATE_READY", "LETTERBOX_RECT")
    assert refused(stack, "deploy", "tiny@1", "--name", "x", "--artifact", "0000nothing")["reason"] == "ARTIFACT_NOT_FOUND"
    assert "projects/default/deployments/short-lived" in [d["name"] for d in stack.json("deployment", "list")["deployments"]]
    assert stack.json("deployment", "show", "short-lived")["deployment"]["served_version"] == made["model_version"]
    assert stack.json("deployment", "delete", "short-lived") == {}
    assert refused(stack, "deployment", "show", "short-lived")["reason"] == "DEPLOYMENT_NOT_FOUND"
    assert refused(stack, "deployment", "delete", "short-lived")["code"] == "NOT_FOUND"


@covers("predict", "--conf", "--iou", "--classes", "--max-det", "--save")
def test_predict(stack, small_deployment, picture, tmp_path):
    def found(*options):
        return stack.json("predict", small_deployment, picture, *options)[0]["prediction"]["detection"]["detections"]

    many = found("--conf", "0.0001")
    assert len(many) > 5
    middle = many[len(many) // 2]["confidence"]
    fewer = found("--conf", middle)
    assert 0 < len(fewer) < len(many)
    assert len(found("--conf", "0.0001", "--iou", "0")) < len(found("--conf", "0.0001", "--iou", "1"))
    assert len(found("--conf", "0.0001", "--max-det", "3")) == 3
    name = many[0]["class_name"]
    assert {d["class_name"] for d in found("--conf", "0.0001", "--classes", name)} == {name}
    assert {d["class_id"] for d in found("--conf", "0.0001", "--classes", "0")} == {0}
    assert refused(stack, "predict", small_deployment, picture, "--classes", "zebra")["reason"] == "INVALID_FIELD"
    found("--save", tmp_path / "drawn")
    assert (tmp_path / "drawn" / f"{picture.stem}.jpg").read_bytes()[:3] == b"\xff\xd8\xff"


def test_predict_answers_each_image_in_the_order_given(stack, small_deployment, picture, tmp_path):
    (tmp_path / "odd.jpg").write_bytes(b"no picture")
    words = [picture, tmp_path / "odd.jpg", "nowhere.jpg", picture]
    done = stack.yard("predict", small_deployment, *words, "--json")
    assert done.returncode == 1
    lines = [json.loads(answer) for answer in done.stdout.splitlines()]
    assert [answer["image"] for answer in lines] == [str(word) for word in words]
    assert [answer.get("error", {}).get("reason") for answer in lines] == [None, "IMAGE_UNREADABLE", "FILE_NOT_FOUND", None]
    assert json.loads(done.stderr.splitlines()[-1])["error"]["metadata"] == {"failed": "2", "images": "4"}
    assert refused(stack, "predict", "nowhere", picture)["reason"] == "DEPLOYMENT_NOT_FOUND"


@covers("job list", "--kind")
@covers("job show")
def test_jobs(stack, line):
    everything = stack.json("job", "list")
    assert {"import_jobs", "training_jobs", "export_jobs"} <= set(everything)
    assert set(stack.json("job", "list", "--kind", "train")) == {"training_jobs", "next_page_token"}
    for kind, field in (("import", "import_job"), ("train", "training_job"), ("export", "export_job")):
        name = line[kind][field]["name"]
        shown = stack.json("job", "show", name)
        assert shown[field]["status"]["state"] == "JOB_STATE_SUCCEEDED"
        assert stack.json("job", "show", name.rpartition("/")[2]) == shown
        assert stack.json("job", "show", name[-6:]) == shown, "the end of an id is enough"
    assert refused(stack, "job", "show", "zzzz")["reason"] == "JOB_NOT_FOUND"


@covers("job watch")
@covers("job cancel")
def test_job_watch_and_cancel(stack, line):
    name = line["import"]["import_job"]["name"]
    done = stack.yard("job", "watch", name, "--json")
    assert [json.loads(snapshot) for snapshot in done.stdout.splitlines()][-1]["import_job"]["status"]["state"] == "JOB_STATE_SUCCEEDED"
    job = stack.json("train", "tiny", "--model", "yolov8n.yaml", "--epochs", 500, "--detach")["training_job"]["name"]
    assert stack.json("job", "cancel", job)["training_job"]["status"]["state"] in {"JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"}
    done = stack.yard("job", "watch", job, "--json")
    assert done.returncode == 1
    assert json.loads(done.stderr.splitlines()[-1])["error"]["reason"] == "CANCELLED"
    assert refused(stack, "job", "cancel", name)["reason"] == "JOB_FINISHED"


@covers("job logs")
@covers("job download", "--to")
def test_job_logs_and_files(stack, line, tmp_path):
    name = line["train"]["training_job"]["name"]
    parts = [json.loads(part) for part in stack.yard("job", "logs", name, "--json").stdout.splitlines()]
    assert parts
    assert parts[0]["offset"] == "0"
    assert len(stack.yard("job", "logs", name).stdout) > 200
    files = stack.json("job", "download", name, "--to", tmp_path)["files"]
    assert {"results.csv", "args.yaml", "best.pt", "last.pt"} <= {f["path"].rpartition("/")[2] for f in files}
    assert all((tmp_path / f["path"]).stat().st_size == int(f["size_bytes"]) for f in files)
    assert refused(stack, "job", "logs", line["export"]["export_job"]["name"])["code"] == "INVALID_ARGUMENT"


def test_ctrl_c_stops_following_and_the_job_goes_on(stack, line):
    command = [
        YARD,
        "train",
        "tiny",
        "--model",
        "yolov8n.yaml",
        "--name",
        "endless",
        "--epochs",
        "500",
        "--dir",
        str(stack.home),
    ]
    # A test run in the background of a shell has SIGINT ignored, and so would its children.
    listening = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", listening, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=stack.environment,
    )
    first = process.stderr.readline()
    assert first.startswith("job ")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    job = first.split()[1]
    assert f"yard job cancel {job}" in err
    assert stack.json("job", "show", job)["training_job"]["status"]["state"] in {"JOB_STATE_QUEUED", "JOB_STATE_RUNNING"}
    assert not any((stack.home / "pending").iterdir()), "the same command again is a new training"
    cancelled(stack, job)


def test_no_server(stack):
    error = refused(stack, "dataset", "list", code=3, VISIONYARD_DATASET_ADDR="127.0.0.1:1")
    assert error["code"] == "UNAVAILABLE"
