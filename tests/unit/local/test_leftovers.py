import os
import signal
import subprocess
import sys
import time
import uuid

import pytest

from visionyard.local import leftovers


@pytest.fixture
def stack_id():
    made = uuid.uuid4().hex
    yield made
    leftovers.kill_all(made)


def start(stack_id, code="import time; time.sleep(600)"):
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, leftovers.STACK_ID_VARIABLE: stack_id}, start_new_session=True)


def found_within(stack_id, count, seconds=20):
    end = time.monotonic() + seconds
    while len(leftovers.find(stack_id)) != count and time.monotonic() < end:
        time.sleep(0.05)
    return leftovers.find(stack_id)


def test_processes_are_found_by_id_whoever_their_parent_is(stack_id):
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)"
    parent = start(stack_id, code)
    parent.wait()
    (orphan,) = found_within(stack_id, 1)
    assert orphan.pid != parent.pid
    assert leftovers.find("another") == []
    assert leftovers.kill_all(stack_id)
    assert leftovers.find(stack_id) == []


def test_who_is_spared_lives(stack_id):
    spared, other = start(stack_id), start(stack_id)
    found_within(stack_id, 2)
    assert leftovers.kill_all(stack_id, besides=[spared.pid])
    assert other.wait() == -signal.SIGKILL
    assert spared.poll() is None
    spared.kill()
    spared.wait()


def test_dead_children_are_seen_until_they_are_waited_for(stack_id):
    child = start(stack_id, "pass")
    end = time.monotonic() + 20
    while child.pid not in leftovers.dead_children() and time.monotonic() < end:
        time.sleep(0.02)
    assert child.pid in leftovers.dead_children()
    child.wait()
    assert child.pid not in leftovers.dead_children()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("python", "-m", "visionyard.training.worker", "--job", "x"), True),
        (("python", "-m", "visionyard.training"), False),
        (("python", "-c", "from multiprocessing.spawn import spawn_main"), False),
    ],
)
def test_workers_are_known_by_their_command_line(arguments, expected):
    assert leftovers.Process(1, arguments).is_worker is expected
