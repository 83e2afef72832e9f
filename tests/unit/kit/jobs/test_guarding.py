"""Which workers have to go so that the others may stay; what real processes and folders take."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from visionyard.kit.errors import Reason
from visionyard.kit.jobs.guarding import Guard, Room, Use, folder_bytes, group_memory, memory_room

GIB = 1 << 30
MUCH = Room(20 * GIB, 24 * GIB)
ROOMY = Room(80 * GIB, 100 * GIB)


def guard(memory=0, disk=0):
    return Guard(memory, disk, Path("/"), "use less of it")


def test_who_takes_what_it_may_stays():
    used = {"a": Use(3 * GIB, GIB), "b": Use(4 * GIB, 50 * GIB)}
    assert guard().judge(used, MUCH, ROOMY) == {}
    assert guard(4 * GIB, 50 * GIB).judge(used, MUCH, ROOMY) == {}


def test_who_takes_more_than_it_may_goes():
    found = guard(memory=3 * GIB).judge({"a": Use(3 * GIB, 0), "b": Use(4 * GIB, 0)}, MUCH, ROOMY)
    assert list(found) == ["b"]
    assert found["b"].reason is Reason.OUT_OF_MEMORY
    assert "took 4.0 GiB of memory, and VISIONYARD_JOB_MEMORY_BYTES lets it take 3.0 GiB; use less of it" in found["b"].message
    found = guard(disk=GIB).judge({"a": Use(0, 2 * GIB), "b": Use(0, GIB)}, MUCH, ROOMY)
    assert {job: why.reason for job, why in found.items()} == {"a": Reason.DISK_FULL}


def test_where_the_memory_is_at_its_end_the_one_that_takes_the_most_goes():
    used = {"a": Use(9 * GIB, 0), "b": Use(10 * GIB, 0), "c": Use(1, 0)}
    found = guard().judge(used, Room(200 << 20, 24 * GIB), ROOMY)
    assert list(found) == ["b"]
    assert "took the most, 10.0 GiB" in found["b"].message


def test_a_machine_that_others_have_filled_ends_no_training():
    assert guard().judge({"a": Use(2 * GIB, 100 << 20)}, Room(0, 24 * GIB), Room(0, 100 * GIB)) == {}


def test_where_the_disk_is_at_its_end_the_one_that_filled_it_goes():
    used = {"a": Use(9 * GIB, 30 * GIB), "b": Use(10 * GIB, GIB)}
    found = guard().judge(used, MUCH, Room(100 << 20, 100 * GIB))
    assert {job: why.reason for job, why in found.items()} == {"a": Reason.DISK_FULL}
    assert "0.1 GiB were left" in found["a"].message


def test_a_small_disk_is_not_full_from_the_start():
    assert guard().judge({"a": Use(0, GIB)}, MUCH, Room(60 << 20, 64 << 20)) == {}


@pytest.fixture
def group():
    """A process with a child, 200 MiB in each, 100 MiB of them shared."""
    program = (
        "import os, sys, mmap, time\n"
        "shared = mmap.mmap(-1, 100 << 20); shared.write(b'x' * (100 << 20))\n"
        "if os.fork() == 0:\n    shared.seek(0); shared.read()\n"
        "own = bytearray(os.urandom(1 << 20) * 100)\n"
        "sys.stdout.write('.'); sys.stdout.flush()\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.read(2) == b".."
    yield process.pid
    os.killpg(process.pid, 9)
    process.wait()
    process.stdout.close()


def test_what_processes_share_is_counted_once(group):
    simple = sum(process.memory_info().rss for process in (psutil.Process(group), *psutil.Process(group).children()))
    counted = group_memory(group)
    assert 300 << 20 <= counted < 360 << 20
    assert counted < simple
    assert group_memory(group, unless_below=2 * GIB) == pytest.approx(simple, rel=0.05), "not worth a closer look"


def test_a_process_that_is_gone_takes_nothing():
    process = subprocess.Popen(["true"])
    process.wait()
    assert group_memory(process.pid) == 0


def test_what_lies_in_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(os.urandom(3 << 20))
    (tmp_path / "link").symlink_to("/")
    assert 3 << 20 <= folder_bytes(tmp_path) < 4 << 20
    assert folder_bytes(tmp_path / "none") == 0


def test_a_container_s_memory_is_its_own(tmp_path):
    for name, text in (
        ("memory.max", f"{4 * GIB}\n"),
        ("memory.current", f"{3 * GIB}\n"),
        ("memory.stat", f"anon 1\ninactive_file {GIB}\n"),
    ):
        (tmp_path / name).write_text(text)
    machine = psutil.virtual_memory()
    if machine.available > 3 * GIB:
        assert memory_room(tmp_path) == Room(2 * GIB, 4 * GIB)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_room(tmp_path).total == machine.total


def test_a_look_at_a_quiet_machine_costs_next_to_nothing(tmp_path):
    quiet = guard()
    quiet.look({})
    began = time.process_time()
    for _ in range(20):
        assert quiet.look({"a": (os.getpid(), tmp_path)}) == {}
    assert time.process_time() - began < 1, "no process is listed, no folder walked"
