"""The same command again, after its client was killed: it joins what it began, and never takes something else for it."""

import itertools
import json
import os
import signal
import subprocess
import time

import pytest
from embedded import YARD

from visionyard.client import Client
from visionyard.inference.v1 import deployment_pb2
from visionyard.kit.request_id import new_request_id
from visionyard.local import sample


def killed(stack, *words):
    """Gives a command, and kills its client as soon as it has a job; the job's name."""
    command = [YARD, *map(str, words), "--dir", str(stack.home)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=stack.environment)
    pending = stack.home / "pending"
    end = time.monotonic() + 60
    while not any('"job"' in path.read_text() for path in pending.glob("*.json")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    facts = json.loads(next(pending.glob("*.json")).read_text())["facts"]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return facts["job"]


@pytest.fixture
def moving(stack, tmp_path):
    """Makes versions of a dataset: call it once for each."""
    seeds = itertools.count()

    def version():
        seed = next(seeds)
        folder = tmp_path / str(seed)
        sample.generate(folder, 10, seed)
        return stack.json("dataset", "import", folder, "--name", "moving")["import_job"]["dataset_version"]["name"]

    return version


def test_it_joins_its_job_and_then_is_a_new_one(stack, line):
    words = ["export", "tiny@1", "--format", "onnx", "--data", "tiny@1"]
    job = killed(stack, *words)
    assert stack.json(*words)["export_job"]["name"] == job
    assert not any((stack.home / "pending").iterdir())
    assert stack.json(*words)["export_job"]["name"] != job


def test_a_job_that_has_ended_meanwhile_is_told(stack, line):
    words = ["export", "tiny", "--format", "onnx", "--data", "tiny"]
    job = killed(stack, *words)
    assert stack.yard("job", "watch", job).returncode == 0
    done = stack.yard(*words)
    assert done.returncode == 0
    assert f"job {job.split('/')[-1]} was begun by an earlier run of this command and has ended" in done.stderr


def test_the_newest_version_of_today_is_not_that_of_yesterday(stack, line, moving):
    words = ["train", "moving", "--model", "yolov8n.yaml", "--name", "moving", "--epochs", 500, "--imgsz", 32]
    first = moving()
    job = killed(stack, *words)
    second = moving()
    again = stack.json(*words, "--detach")["training_job"]
    assert (stack.json("job", "show", job)["training_job"]["spec"]["dataset_version"], again["spec"]["dataset_version"]) == (first, second)
    for name in (job, again["name"]):
        stack.json("job", "cancel", name)
        stack.yard("job", "watch", name)
    # The first one's request is still open; it was cancelled, so the same command begins anew.
    words[1] = "moving@1"
    done = stack.yard(*words, "--detach", "--json")
    third = json.loads(done.stdout)["training_job"]
    assert third["name"] not in {job, again["name"]}
    assert "was cancelled; a new one begins" in done.stderr
    stack.json("job", "cancel", third["name"])
    stack.yard("job", "watch", third["name"])


def test_a_deployment_changed_meanwhile_is_changed_back(stack, line):
    request_id = new_request_id()
    with Client(state_dir=stack.home) as client:
        client.deployments.create_or_update("again", "tiny@1", letterbox="rect", request_id=request_id)
        client.deployments.update("again", "tiny@1", letterbox="square")
        made = client.deployments.create_or_update("again", "tiny@1", letterbox="rect", request_id=request_id)
        assert made.letterbox == deployment_pb2.LETTERBOX_RECT
        assert client.deployments.wait_ready("again").letterbox == deployment_pb2.LETTERBOX_RECT
        client.deployments.delete("again")
