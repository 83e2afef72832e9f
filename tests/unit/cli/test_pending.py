"""A command killed half-way leaves its request behind; one that ended, in whatever way, does not."""

import asyncio
import signal
import subprocess
import sys

import pytest

from visionyard.cli.pending import Pending
from visionyard.client.errors import ClientError, NoServer
from visionyard.kit.errors import Code

COMMAND = {"command": "import", "sha256": "ab", "split": [0.8, 0.2]}
KILLED = """
import os, signal, sys
from pathlib import Path
from visionyard.cli.pending import Pending
with Pending(Path(sys.argv[1]), {"command": "import", "sha256": "ab", "split": [0.8, 0.2]}) as pending:
    pending.note(upload="u1")
    print(pending.request_id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def files(folder):
    return list((folder / "pending").iterdir())


def test_the_same_command_after_a_kill_is_the_same_request(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    with Pending(tmp_path, COMMAND) as again:
        assert again.request_id == done.stdout.strip()
        assert again.facts == {"upload": "u1"}
        with Pending(tmp_path, {**COMMAND, "sha256": "cd"}) as other:
            assert other.request_id != again.request_id
    assert files(tmp_path) == []


def test_a_living_twin_is_a_request_of_its_own(tmp_path):
    with Pending(tmp_path, COMMAND) as one:
        with Pending(tmp_path, COMMAND) as two:
            assert one.request_id != two.request_id
            two.note(job="j")
        assert len(files(tmp_path)) == 1, "the twin's end does not end the first"
        one.note(job="mine")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (ClientError(Code.NOT_FOUND, "DATASET_NOT_FOUND", "no"), False),
        (NoServer(Code.UNAVAILABLE, "NO_SERVER", "away"), True),
        (ClientError(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "late"), True),
        (asyncio.CancelledError(), True),
        (KeyboardInterrupt(), True),
    ],
)
def test_a_refusal_ends_the_request_and_an_absent_server_does_not(tmp_path, error, kept):
    with pytest.raises(type(error)), Pending(tmp_path, COMMAND):
        raise error
    assert bool(files(tmp_path)) is kept


def test_renewing_forgets_what_was_reached(tmp_path):
    with Pending(tmp_path, COMMAND) as pending:
        before = pending.request_id
        pending.note(job="gone")
        pending.renew()
        assert pending.request_id != before
        assert pending.facts == {}


def test_half_a_file_is_a_new_request(tmp_path):
    with Pending(tmp_path, COMMAND) as pending:
        path = pending.path
    path.write_text('{"request_id": "x"')
    with Pending(tmp_path, COMMAND) as pending:
        assert pending.request_id != "x"


@pytest.mark.parametrize("place", ["missing/deep", "file"])
def test_no_place_to_write_does_not_stop_the_command(tmp_path, place):
    (tmp_path / "file").write_text("")
    with Pending(tmp_path / place, COMMAND) as pending:
        pending.note(job="j")
        assert pending.facts == {"job": "j"}


def test_the_file_is_the_owners_alone(tmp_path):
    with Pending(tmp_path, COMMAND):
        assert files(tmp_path)[0].stat().st_mode & 0o077 == 0
