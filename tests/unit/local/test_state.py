import json
import shutil
import stat
import subprocess
import sys

import pytest

from visionyard.local.state import StateDir, SupervisorLock, read_json, resolve_state_dir, supervisor_pid, write_atomically


@pytest.fixture
def state(tmp_path):
    made = StateDir(tmp_path / "state")
    made.create()
    return made


def test_the_directory_is_its_owners_alone(state):
    assert stat.S_IMODE(state.root.stat().st_mode) == 0o700


def test_the_argument_goes_before_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("VISIONYARD_HOME", str(tmp_path / "home"))
    assert resolve_state_dir(tmp_path / "given") == tmp_path / "given"
    assert resolve_state_dir(None) == tmp_path / "home"
    monkeypatch.delenv("VISIONYARD_HOME")
    assert resolve_state_dir(None).parts[-3:] == (".local", "share", "visionyard")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\udc80")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_secrets_are_written_readable_by_their_owner_only(tmp_path):
    write_atomically(tmp_path / "secret", "x", 0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_what_is_no_json_object_reads_as_nothing(tmp_path, text):
    (tmp_path / "x").write_text(text)
    assert read_json(tmp_path / "x") is None


def test_the_stack_id_stays_but_a_copy_gets_its_own(state, tmp_path):
    first = state.stack_id()
    assert state.stack_id() == first
    shutil.copytree(state.root, tmp_path / "copy")
    assert StateDir(tmp_path / "copy").stack_id() != first


def test_only_one_supervisor_holds_the_lock_and_its_death_lets_it_go(state):
    assert supervisor_pid(state) is None
    code = f"""
import pathlib, sys
from visionyard.local.state import StateDir, SupervisorLock
lock = SupervisorLock(StateDir(pathlib.Path({str(state.root)!r})))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        assert supervisor_pid(state) == other.pid
        assert not SupervisorLock(state).acquire()
        other.kill()
        other.wait()
    assert supervisor_pid(state) is None
    lock = SupervisorLock(state)
    assert lock.acquire()
    lock.release()


def test_endpoints_are_a_plain_object_and_go_when_the_stack_goes(state):
    state.write_endpoints({"dataset": "127.0.0.1:1"})
    assert json.loads(state.endpoints_file.read_text()) == {"dataset": "127.0.0.1:1"}
    state.write_processes([{"name": "store", "pid": 1}])
    assert state.processes() == [{"name": "store", "pid": 1}]
    state.forget()
    assert not state.endpoints_file.exists()
    assert state.processes() == []
