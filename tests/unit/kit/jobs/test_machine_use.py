"""What real processes and folders take, and what a machine has left."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from visionyard.kit.jobs.machine_use import (
    Room,
    disk_room,
    family_of,
    folder_bytes,
    memory_of,
    memory_room,
    prefer_to_servers,
    workers_here,
)

GIB = 1 << 30


@pytest.fixture
def family():
    """A process with a child in a session of its own, 200 MiB in each, 100 MiB of them shared."""
    program = (
        "import os, sys, mmap, time\n"
        "shared = mmap.mmap(-1, 100 << 20); shared.write(b'x' * (100 << 20))\n"
        "if os.fork() == 0:\n    os.setsid(); shared.seek(0); shared.read()\n"
        "own = bytearray(os.urandom(1 << 20) * 100)\n"
        "sys.stdout.write('.'); sys.stdout.flush()\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.read(2) == b".."
    members = family_of(process.pid)
    yield members
    for member in members:
        member.kill()
    process.wait()
    process.stdout.close()


def test_what_processes_share_is_counted_once(family):
    assert len(family) == 2, "of whatever session"
    simple = sum(process.memory_info().rss for process in family)
    counted = memory_of(family)
    assert 300 << 20 <= counted < 360 << 20
    assert counted < simple
    assert memory_of(family, unless_below=2 * GIB) == pytest.approx(simple, rel=0.05), "not worth a closer look"


def test_who_is_gone_takes_nothing():
    process = subprocess.Popen(["true"])
    gone = psutil.Process(process.pid)
    process.wait()
    assert family_of(process.pid) == []
    assert memory_of([gone]) == 0
    assert memory_of([]) == 0


def test_workers_are_known_by_their_mark_whoever_started_them():
    program = (
        "import os, sys, time\n"
        "from visionyard.kit.jobs.machine_use import prefer_to_servers\n"
        "prefer_to_servers()\n"
        "pid = os.fork()\n"
        "sys.stdout.write('.' if pid else ''); sys.stdout.flush()\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout.read(1) == b"."
        found = workers_here()
        assert {member.pid for member in found[process.pid]} == {member.pid for member in family_of(process.pid)}
        assert len(found[process.pid]) == 2
        assert os.getpid() not in found
        os.killpg(process.pid, 9)
    assert process.pid not in workers_here()


@pytest.mark.parametrize(("before", "after"), [("0", "500"), ("300", "800"), ("900", "1000"), ("-500", "0")])
def test_a_worker_s_mark_is_above_its_service_s(tmp_path, before, after):
    score = tmp_path / "oom_score_adj"
    score.write_text(f"{before}\n")
    prefer_to_servers(score)
    assert score.read_text() == after
    prefer_to_servers(tmp_path / "none" / "oom_score_adj")


def test_what_lies_in_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(os.urandom(3 << 20))
    (tmp_path / "link").symlink_to("/")
    assert 3 << 20 <= folder_bytes(tmp_path) < 4 << 20
    assert folder_bytes(tmp_path / "none") == 0


def cgroup(folder, limit, **stat):
    used = sum(stat.values())
    for name, text in (("memory.max", limit), ("memory.current", used), ("memory.stat", "\n".join(f"{k} {v}" for k, v in stat.items()))):
        (folder / name).write_text(f"{text}\n")
    return folder


def test_a_container_s_memory_is_its_own_and_cached_files_are_no_memory_in_use(tmp_path):
    machine = Room(20 * GIB, 24 * GIB)
    found = memory_room(cgroup(tmp_path, 8 * GIB, anon=2 * GIB, active_file=5 * GIB, inactive_file=GIB // 2), machine)
    assert found == Room(6 * GIB, 8 * GIB)
    assert memory_room(cgroup(tmp_path, 8 * GIB, anon=7 * GIB, inactive_file=GIB), machine) == Room(GIB, 8 * GIB)
    assert memory_room(cgroup(tmp_path, 8 * GIB, anon=2 * GIB), Room(GIB, 24 * GIB)) == Room(GIB, 24 * GIB), "the machine has less"
    assert memory_room(cgroup(tmp_path, "max", anon=GIB), machine) == machine
    assert memory_room(tmp_path / "none", machine) == machine


def test_this_machine():
    real = memory_room(Path("/none"))
    assert 0 < real.free < real.total == psutil.virtual_memory().total
    assert disk_room(Path("/none/at/all")).total > 0
