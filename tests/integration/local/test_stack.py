"""The embedded stack with its real processes: up, status, every process killed once, the supervisor killed, down."""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from contextlib import suppress

import pytest
from embedded import YARD, Stack, until

from visionyard.local import leftovers, probes
from visionyard.local.ports import SERVICE_PORTS
from visionyard.local.rooms import SERVICES
from visionyard.local.state import StateDir

BACK_WITHIN_S = 60
GONE_WITHIN_S = 10
NAMES = ["supervisor", "triton", "store", *SERVICES, "guard"]


@pytest.fixture(scope="module")
def running(stack):
    stack.up()
    return stack


def test_status_names_every_process_and_where_it_serves(running):
    status = running.status()
    processes = {p["name"]: p for p in status["processes"]}
    assert sorted(processes) == sorted(NAMES)
    assert all(p["state"] == "running" and os.path.exists(f"/proc/{p['pid']}") for p in processes.values())  # noqa: PTH110 - procfs
    for name in SERVICES:
        assert probes.is_serving(processes[name]["address"])
        assert status["endpoints"][name] == processes[name]["address"]
    for name in ("store", "triton", *SERVICES):
        with urllib.request.urlopen(f"http://{processes[name]['metrics_address']}/metrics", timeout=10) as answer:
            assert b"# TYPE" in answer.read()
    assert {"visionyard", "python", "torch", "ultralytics", "seaweedfs", "nvidia-pytriton"} <= set(status["versions"])
    assert all(re.fullmatch(r"\d+(\.\d+)+(\+\w+)?", version) for version in status["versions"].values()), status["versions"]
    assert 0 < status["disk"]["free_bytes"] <= status["disk"]["total_bytes"]


def test_everything_listens_on_loopback_only(running):
    heard = [(process, line) for process in running.living() for line in _listening(process.pid)]
    assert len(heard) > len(running.status()["processes"]), "each server listens, and tells its metrics"
    for process, line in heard:
        assert line in {"0100007F", "0000000000000000FFFF00000100007F"}, f"{process.arguments} listens on {line}"


def _listening(pid):
    """The addresses, in hex as the kernel writes them, that a process listens on."""
    inodes, found = set(), []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a process that has ended meanwhile listens no more
        for fd in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - procfs
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(f"/proc/{pid}/fd/{fd}"))  # noqa: PTH115 - procfs
        for table in ("tcp", "tcp6"):
            with open(f"/proc/{pid}/net/{table}") as lines:  # noqa: PTH123 - procfs
                for line in list(lines)[1:]:
                    parts = line.split()
                    if parts[3] == "0A" and f"socket:[{parts[9]}]" in inodes:
                        found.append(parts[1].split(":")[0])
    return found


def test_secrets_are_for_their_owner_only(running):
    for name in ("credentials.json", "identities.json"):
        assert stat.S_IMODE((running.home / "store" / name).stat().st_mode) == 0o600


def test_a_second_up_says_that_it_runs_and_changes_nothing(running):
    before = {p["name"]: p["pid"] for p in running.status()["processes"]}
    assert running.up()["already"] is True
    assert {p["name"]: p["pid"] for p in running.status()["processes"]} == before


def test_another_stack_names_the_port_in_use(tmp_path):
    number = next(p.default for p in SERVICE_PORTS if p.name == "dataset")
    with socket.socket() as holder:
        with suppress(OSError):  # in use already: all the better
            holder.bind(("127.0.0.1", number))
            holder.listen()
        done = Stack(tmp_path / "other").yard("up", "--detach")
    assert done.returncode == 1
    assert "50051 (the dataset service)" in done.stderr
    assert "--any-port" in done.stderr
    assert "Traceback" not in done.stderr
    assert Stack(tmp_path / "other").living() == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != "supervisor"])
def test_what_is_killed_comes_back_where_it_was(running, name):
    address = running.process(name)["address"]
    killed = running.kill(name)
    until(lambda: running.process(name).get("pid") not in {0, killed} and running.process(name)["state"] == "running", BACK_WITHIN_S)
    assert running.process(name)["address"] == address
    assert running.process(name)["restarts"] >= 1


def test_after_the_supervisor_was_killed_nothing_is_left_and_up_begins_again(running):
    marked = {**os.environ, leftovers.STACK_ID_VARIABLE: StateDir(running.home).stack_id()}
    command = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]
    with subprocess.Popen(command, env=marked, start_new_session=True) as worker:  # as a worker that has outlived its service
        running.kill("supervisor")
        until(lambda: worker.poll() is not None and running.living() == [], GONE_WITHIN_S)
        assert worker.returncode == -signal.SIGKILL
    assert running.status()["running"] is False
    assert running.up()["already"] is False
    assert {p["state"] for p in running.status()["processes"]} == {"running"}


def test_up_ends_what_a_crashed_stack_left(running):
    marked = {**os.environ, leftovers.STACK_ID_VARIABLE: StateDir(running.home).stack_id()}
    running.kill("guard")
    running.kill("supervisor")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=marked, start_new_session=True) as left:
        assert running.up()["already"] is False
        assert left.wait(5) == -signal.SIGKILL


def test_down_leaves_nothing(running):
    assert running.down()["stopped"] is True
    assert running.living() == []
    assert not (running.home / "endpoints.json").exists()
    assert running.down()["stopped"] is False


def test_in_the_foreground_ctrl_c_stops_it(stack):
    command = [YARD, "up", "--any-port", "--dir", str(stack.home)]
    with subprocess.Popen(command, env=stack.environment, stdout=subprocess.PIPE, text=True, start_new_session=True) as shown:
        until(lambda: stack.process("supervisor").get("state") == "running", 120)
        assert stack.process("supervisor")["pid"] == shown.pid
        shown.send_signal(signal.SIGINT)
        printed, _ = shown.communicate(timeout=30)
        assert shown.returncode == 0
    assert "127.0.0.1:" in printed
    assert stack.living() == []


def test_a_store_without_its_keys_is_named(tmp_path):
    done = Stack(tmp_path / "home").yard("up", "--detach", "--any-port", VISIONYARD_S3_ENDPOINT="127.0.0.1:1")
    assert done.returncode == 1
    assert "VISIONYARD_S3_ACCESS_KEY" in done.stderr


def test_a_given_store_is_used_and_none_started(seaweed_settings, tmp_path):
    stack = Stack(tmp_path / "home")
    try:
        done = stack.yard("up", "--detach", "--any-port", **seaweed_settings)
        assert done.returncode == 0, done.stderr
        assert "store" not in {p["name"] for p in stack.status()["processes"]}
    finally:
        stack.down()
