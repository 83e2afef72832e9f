"""Every command of `yard` on a real stack: each gives valid JSON, and each option changes something that can be seen. Nothing in the tree is left out."""

import json
import shutil
import socket
import subprocess
from contextlib import suppress

import psutil
import pytest
import test_dataset_commands  # noqa: F401 - says what it covers
import test_estimate_commands  # noqa: F401 - likewise
import test_job_commands  # noqa: F401 - likewise
import test_training_choices  # noqa: F401 - likewise
import test_tuning_commands  # noqa: F401 - likewise
from command_tree import COVERED, cancelled, covers, leaves, refused
from embedded import YARD
from hooks import taking_hooks

from visionyard.cli import app


def test_every_command_and_option_is_covered_below():
    tree = {(path, option) for path, options in leaves(app.build()) for option in (None, *options)}
    assert tree == COVERED


@pytest.fixture(scope="module")
def picture(line):
    return next((line["folder"] / "images" / "val").iterdir())


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


@covers("up", "--end-command", "--keep-local")
def test_up_with_a_command_at_the_end(stack, tmp_path):
    again = refused(stack, "up", "--detach", "--end-command", "sudo poweroff")
    assert "yard down" in again["message"]
    assert "--end-command" in refused(stack, "up", "--detach", "--keep-local", "--dir", tmp_path / "none")["message"]
    home = ["--json", "--dir", tmp_path / "second"]
    try:
        up = [YARD, "up", "--detach", "--any-port", "--end-command", "echo off", "--keep-local", *home]
        processes = json.loads(subprocess.run(up, capture_output=True, text=True, env=stack.environment, check=True).stdout)["processes"]
        training = next(p for p in processes if p["name"] == "training")
        told = psutil.Process(training["pid"]).environ()
        assert (told["VISIONYARD_END_COMMAND"], told["VISIONYARD_KEEP_LOCAL"]) == ("echo off", "true")
    finally:
        subprocess.run([YARD, "down", *home], capture_output=True, env=stack.environment, check=True)


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
    told = stack.yard("train", "tiny", "--model", "yolov8n.yaml", "--set", "lr0=1e-3", "--detach")
    assert "passes over" in told.stderr
    cancelled(stack, told.stdout.strip())
    default = stack.json("train", "tiny", "--model", "yolov8n.yaml", "--detach")["training_job"]
    assert default["spec"]["model"].endswith("/models/tiny"), "named after the dataset"
    assert default["spec"]["architecture"] == "yolov8n.yaml"
    cancelled(stack, default["name"])
    assert refused(stack, "train", "tiny", "--model", "tiny", "--set", "epoch=3")["reason"] == "UNKNOWN_ARGUMENT"


@covers("train", "--gpus", "--nodes", "--launcher")
def test_train_with_several_processes(stack, line):
    words = "train", "tiny", "--model", "yolov8n.yaml", "--batch", 4, "--detach"
    job = stack.json(*words, "--gpus", 2, "--nodes", 1, "--launcher", "local")["training_job"]
    assert (job["spec"]["gpus"], job["spec"]["nodes"], job["spec"]["launcher"]) == (2, 1, "LAUNCHER_LOCAL")
    cancelled(stack, job["name"])
    for asked, field in ((("--gpus", 64), "gpus"), (("--nodes", 2), "nodes"), (("--launcher", "ray"), "launcher")):
        error = refused(stack, *words, *asked)
        assert (error["reason"], error["metadata"]["field"]) == ("INVALID_FIELD", f"training_job.spec.{field}")


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


@covers("model push", "--arch")
def test_a_state_dict_goes_up_as_a_start(stack, tmp_path):
    import torch
    from torchvision.models import get_model

    path = tmp_path / "small.pth"
    torch.save(get_model("mobilenet_v3_small", weights=None).state_dict(), path)
    assert "--arch" in refused(stack, "model", "push", path, "--name", "start")["message"]
    pushed = stack.json("model", "push", path, "--name", "start", "--arch", "mobilenet_v3_small")["model_version"]
    assert (pushed["task"], pushed["pushed_file"], pushed["head_untrained"]) == ("MODEL_TASK_CLASSIFY", "small.pth", True)
    again = stack.json("model", "push", path, "--name", "start", "--arch", "mobilenet_v3_small")["model_version"]
    assert again["name"] == pushed["name"], "the same bytes, no new version"


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


@covers("notify add", "--kind", "--url", "--on", "--name", "--secret")
@covers("notify list")
@covers("notify test")
@covers("notify delete")
def test_notify(stack):
    with taking_hooks() as hooks:
        url = f"{hooks.root}/hook?token=hidden-1"
        made = stack.json(
            "notify", "add", "--kind", "dingtalk", "--url", url, "--on", "improved,failed", "--name", "ops", "--secret", "hidden-2"
        )
        channel = made["notification_channel"]
        assert (channel["kind"], channel["signed"]) == ("NOTIFICATION_KIND_DINGTALK", True)
        assert channel["events"] == ["NOTIFICATION_EVENT_IMPROVED", "NOTIFICATION_EVENT_FAILED"]
        assert channel["masked_url"] == f"{hooks.root}/…"
        assert stack.json("notify", "list")["notification_channels"] == [channel]
        assert stack.json("notify", "test", "ops") == {"http_status": 200}
        [(path, _, body)] = hooks.posts
        assert "&sign=" in path
        assert body["msgtype"] == "markdown"
        hooks.answers["/hook"] = [404]
        assert refused(stack, "notify", "test", "ops")["reason"] == "MESSAGE_NOT_DELIVERED"
        assert "hidden" not in stack.yard("notify", "list").stdout
    assert stack.yard("notify", "add", "--kind", "pager", "--url", url).returncode == 2
    assert stack.yard("notify", "add", "--kind", "slack", "--url", url, "--on", "ended").returncode == 2
    assert refused(stack, "notify", "add", "--kind", "slack", "--url", "http://169.254.169.254/x")["reason"] == "ADDRESS_NOT_ALLOWED"
    assert stack.json("notify", "delete", "ops") == {}
    assert stack.json("notify", "list")["notification_channels"] == []
    assert refused(stack, "notify", "delete", "ops")["reason"] == "CHANNEL_NOT_FOUND"
    logs = [file for file in stack.home.rglob("*.log") if file.is_file()]
    assert len(logs) > 3
    assert [file.name for file in logs if b"hidden-" in file.read_bytes()] == []


@covers("model compare", "--data", "--split", "--html", "--detach")
def test_models_are_compared(stack, line, tmp_path):
    words = "model", "compare", "tiny@1", "tiny", "--data", "tiny@1"
    report = stack.json(*words, "--html", tmp_path / "ab.html")["report"]
    assert report["first"] == report["second"]
    assert report["both_wrong_count"] + report["both_right_count"] == report["first"]["findings"]["image_count"]
    assert "<svg" in (tmp_path / "ab.html").read_text()
    found = stack.json("job", "list", "--kind", "compare")["evaluation_jobs"]
    assert report["name"] in [job["name"] for job in found]
    assert stack.json("job", "report", report["name"])["report"] == report
    assert refused(stack, *words, "--split", "nothing")["reason"] == "INVALID_FIELD"
    other = stack.json(*words, "--split", "train", "--detach")["evaluation_job"]
    assert other["spec"]["split"] == "train"
    stack.yard("job", "cancel", other["name"])


def test_no_server(stack):
    error = refused(stack, "dataset", "list", code=3, VISIONYARD_DATASET_ADDR="127.0.0.1:1")
    assert error["code"] == "UNAVAILABLE"
