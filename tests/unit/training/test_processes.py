"""How many processes train together: what is refused before a job is queued, and how many slots it takes."""

from __future__ import annotations

import json
import sys

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.training.mapping import spec_from_proto
from visionyard.training.processes import Capacity, capacity_here, check_processes, slots_taken, why_not
from visionyard.training.spec import TrainingSpec
from visionyard.training.v1 import training_job_pb2
from visionyard.training.worker import ranks
from visionyard.training.worker.rank import lost_a_peer

GPUS, CPU = Capacity(gpus=2, cores=16), Capacity(gpus=0, cores=4)
CLUSTER = Capacity(gpus=0, cores=4, ray_address="127.0.0.1:6379", ray_installed=True)


def spec(**changes):
    return TrainingSpec("projects/p/datasets/d/versions/1", "projects/p/models/m", architecture="yolov8n.yaml", **changes)


@pytest.mark.parametrize(
    ("asked", "machine"),
    [
        ({}, CPU),
        ({"gpus": 1, "nodes": 1}, GPUS),
        ({"gpus": 2}, GPUS),
        ({"gpus": 4}, CPU),
        ({"gpus": 3, "batch_size": 48}, CPU),
        ({"gpus": 3, "overrides": {"batch": 48}}, CPU),
        ({"gpus": 8, "nodes": 2, "launcher": "ray"}, CLUSTER),
    ],
)
def test_what_there_is_may_be_asked_for(asked, machine):
    check_processes(spec(**asked), machine)


@pytest.mark.parametrize(
    ("asked", "machine", "field", "said"),
    [
        ({"gpus": -1}, CPU, "gpus", "takes 0 to 64"),
        ({"gpus": 65}, GPUS, "gpus", "takes 0 to 64"),
        ({"nodes": 257, "launcher": "ray"}, CLUSTER, "nodes", "takes 0 to 256"),
        ({"gpus": 3}, GPUS, "gpus", "this machine has 2"),
        ({"gpus": 5}, CPU, "gpus", "no GPU and 4 CPU cores"),
        ({"nodes": 2}, CLUSTER, "nodes", "choose the launcher ray"),
        ({"nodes": 2, "launcher": "ray"}, CPU, "launcher", "in Visionyard's checkout run pip install -c constraints.txt '.[training,ray]'"),
        ({"nodes": 2, "launcher": "ray"}, Capacity(0, 4, "", ray_installed=True), "launcher", "VISIONYARD_RAY_ADDRESS"),
        ({"gpus": 3}, CPU, "batch_size", "such as 15"),
        ({"gpus": 4, "batch_size": 2}, CPU, "batch_size", "such as 4"),
        ({"gpus": 2, "overrides": {"batch": -1}}, CPU, "batch_size", "give --batch"),
        ({"gpus": 2, "overrides": {"batch": 0.7}}, CPU, "batch_size", "give --batch"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(asked, machine, field, said):
    with pytest.raises(YardError) as refused:
        check_processes(spec(**asked), machine)
    assert refused.value.reason is Reason.INVALID_FIELD
    assert f"training_job.spec.{field}" in refused.value.message
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("asked", "machine", "said"),
    [
        ({"gpus": 2}, GPUS, ""),
        ({"gpus": 3}, GPUS, "has 2 GPUs for trainings"),
        ({"gpus": 3}, Capacity(gpus=1, cores=16), "has 1 GPU for trainings"),
        ({"gpus": 4}, CPU, ""),
        ({"gpus": 5}, CPU, "has no GPU and 4 CPU cores, of which each process takes one"),
        ({"gpus": 5, "nodes": 2, "launcher": "ray"}, CPU, "has no GPU and 4 CPU cores, of which each process takes one"),
        ({"gpus": 5, "nodes": 2, "launcher": "ray"}, CLUSTER, ""),
    ],
)
def test_why_a_machine_cannot_run_it(asked, machine, said):
    assert why_not(spec(**asked), machine) == said


@pytest.mark.parametrize("asked", [{"gpus": 65}, {"gpus": 4, "batch_size": 6}, {"gpus": 2, "nodes": 2}, {"nodes": 2, "launcher": "ray"}])
def test_what_no_machine_could_run_is_refused_for_an_estimate_too(asked):
    check_processes(spec(gpus=8, batch_size=8), CPU, here=False)
    with pytest.raises(YardError):
        check_processes(spec(**asked), CPU, here=False)


def test_a_training_takes_a_slot_for_each_gpu_and_one_of_a_cpu():
    gpus = slots_taken([{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}])
    cpu = slots_taken([{"CUDA_VISIBLE_DEVICES": ""}])
    cores = capacity_here().cores
    assert [gpus(spec(gpus=count).to_json()) for count in (0, 1, 2, 3)] == [1, 1, 2, 3]
    assert [cpu(spec(gpus=count).to_json()) for count in (0, 1, cores)] == [1, 1, 1]
    assert cpu(spec(gpus=cores + 1).to_json()) > 1, "left to other machines"
    assert gpus(spec(gpus=8, nodes=4, launcher="ray").to_json()) == 1
    assert cpu({}) == 1, "what an earlier build queued"


def test_the_launcher_is_one_that_is_known():
    for number, name in ((0, ""), (1, ""), (2, "ray")):
        assert spec_from_proto(training_job_pb2.TrainingSpec(launcher=number)).launcher == name
    with pytest.raises(YardError, match="the number 9"):
        spec_from_proto(training_job_pb2.TrainingSpec(launcher=9))


def test_what_was_told_first_is_why(tmp_path):
    """Once a rank has failed, the others fail for want of it."""
    command = [sys.executable, "-c", "raise SystemExit(1)"]
    for rank, text in ((1, "out of memory"), (0, "something else, later")):
        ranks.tell(tmp_path, rank, YardError(Reason.OUT_OF_MEMORY, text))
    started = ranks.Ranks.__new__(ranks.Ranks)
    started._scratch = tmp_path
    started._process = ranks.subprocess.Popen(command, stdin=ranks.subprocess.PIPE)
    ended = started.wait(60)
    started.stop(1.0)
    assert ended is not None
    assert (ended.code, ended.error.message) == (1, "out of memory")
    assert json.loads((tmp_path / "told" / "1.json").read_text())


def test_a_rank_that_misses_another_does_not_say_why():
    closed = "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:7001. This may indicate a remote failure"
    assert lost_a_peer(RuntimeError(closed))
    assert not lost_a_peer(RuntimeError("CUDA out of memory"))
