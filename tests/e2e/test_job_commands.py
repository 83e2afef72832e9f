"""`yard job` and `yard queue` on a real stack: what is shown, followed, cancelled, resumed, reported and downloaded."""

import json
import signal
import subprocess
import sys
import time

from command_tree import cancelled, covers, refused, wait_for_epoch
from embedded import YARD


@covers("job list", "--kind")
@covers("job show")
def test_jobs(stack, line):
    everything = stack.json("job", "list")
    assert {"import_jobs", "training_jobs", "export_jobs", "tuning_jobs"} <= set(everything)
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


@covers("job report", "--html")
def test_job_report(stack, line, tmp_path):
    name = line["train"]["training_job"]["name"]
    report = stack.json("job", "report", name)["report"]
    assert report["name"] == name
    assert report["epoch"] == len(report["epoch_figures"]) > 0
    assert report["findings"]["image_count"] > 0
    assert float(report["cost"]["training_time"].rstrip("s")) > 0
    assert float(report["estimate"]["expected_duration"].rstrip("s")) > 0
    page = stack.json("job", "report", name, "--html", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert page["size_bytes"] == len(text.encode())
    assert "<svg" in text
    assert 'src="http' not in text
    message = refused(stack, "job", "report", line["import"]["import_job"]["name"])["message"]
    assert "yard dataset report tiny@1" in message


@covers("queue")
@covers("train", "--priority", "--after")
@covers("job resume", "--epochs")
def test_queue_and_resume(stack, line):
    words = "train", "tiny", "--model", "tiny@1", "--name", "queued", "--batch", 3, "--imgsz", 96, "--set", "plots=no", "--detach"
    running = stack.json(*words, "--epochs", 500)["training_job"]["name"]
    wait_for_epoch(stack, running, 1)
    waiting = stack.json(*words, "--epochs", 1, "--priority", -5)["training_job"]["name"]
    held = stack.json(*words, "--epochs", 1, "--after", waiting[-8:])["training_job"]
    assert held["scheduling"] == {"priority": 0, "after": waiting, "budget": 0}
    first = stack.json(*words, "--epochs", 1, "--priority", 7)["training_job"]["name"]
    queue = stack.json("queue")
    assert [job["name"] for job in queue["training_jobs"]] == [running, first, waiting, held["name"]]
    assert [job["status"]["queue_position"] for job in queue["training_jobs"]] == [0, 1, 2, 3]
    shown = stack.yard("queue").stdout
    assert shown.splitlines()[0].split()[:6] == ["PLACE", "ID", "STATE", "PRIORITY", "ABOUT", "PROGRESS"]
    assert f"after {waiting.rpartition('/')[2]}" in shown
    assert refused(stack, "job", "resume", running)["reason"] == "JOB_UNFINISHED"
    for job in (first, waiting):
        stack.json("job", "cancel", job)
    cancelled(stack, running)
    watched = stack.yard("job", "watch", held["name"], "--json")
    assert json.loads(watched.stderr.splitlines()[-1])["error"]["reason"] == "DEPENDENCY_FAILED"
    epoch = stack.json("job", "show", running)["training_job"]["training_progress"]["epoch"]
    resumed = stack.json("job", "resume", running, "--epochs", epoch + 1)["training_job"]
    assert (resumed["status"]["state"], resumed["resumptions"]) == ("JOB_STATE_QUEUED", 1)
    assert "epochs completed" in stack.yard("job", "logs", running, "-f").stdout, "followed to the end"
    ended = stack.json("job", "show", running)["training_job"]
    assert (ended["status"]["state"], ended["training_progress"]["epoch"]) == ("JOB_STATE_SUCCEEDED", epoch + 1)
    assert refused(stack, "job", "resume", running)["reason"] == "JOB_FINISHED"
    assert refused(stack, "job", "resume", line["export"]["export_job"]["name"])["code"] == "INVALID_ARGUMENT"


@covers("job logs", "--follow")
@covers("job download", "--to")
def test_job_logs_and_files(stack, line, tmp_path):
    name = line["train"]["training_job"]["name"]
    parts = [json.loads(part) for part in stack.yard("job", "logs", name, "--json").stdout.splitlines()]
    assert parts
    assert parts[0]["offset"] == "0"
    assert len(stack.yard("job", "logs", name).stdout) > 200
    assert stack.yard("job", "logs", name, "--follow").stdout == stack.yard("job", "logs", name).stdout
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
    job = first.split()[1].rstrip(":")
    assert f"yard job cancel {job}" in err
    assert stack.json("job", "show", job)["training_job"]["status"]["state"] in {"JOB_STATE_QUEUED", "JOB_STATE_RUNNING"}
    assert not any((stack.home / "pending").iterdir()), "the same command again is a new training"
    cancelled(stack, job)
