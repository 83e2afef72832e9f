"""Which workers have to go so that the others may stay."""

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from visionyard.kit.errors import Reason
from visionyard.kit.jobs import guarding
from visionyard.kit.jobs.guarding import Guard, is_short_of_disk, is_short_of_memory, keep_guard
from visionyard.kit.jobs.machine_use import Room

GIB = 1 << 30
MACHINE = Room(200 << 20, 24 * GIB)
ROOMY, FULL = Room(80 * GIB, 100 * GIB), Room(100 << 20, 100 * GIB)


def guard(memory=0, disk=0, clock=lambda: 100.0):
    return Guard(memory, disk, Path("/"), "use less of it", clock)


def test_when_a_machine_is_at_its_end():
    assert not is_short_of_memory(Room(GIB, 24 * GIB))
    assert is_short_of_memory(Room(400 << 20, 24 * GIB))
    assert is_short_of_memory(Room(200 << 20, 2 * GIB))
    assert not is_short_of_disk(Room(GIB, 100 * GIB))
    assert is_short_of_disk(Room(500 << 20, 100 * GIB))
    assert not is_short_of_disk(Room(60 << 20, 64 << 20)), "a small disk is not full from the start"


def test_where_the_memory_is_at_its_end_the_one_that_takes_the_most_goes():
    found = guard().judge_shortage({"a": 1, "b": 2}, {1: 9 * GIB, 2: 10 * GIB, 3: 1}, MACHINE)
    assert list(found) == ["b"]
    assert found["b"].reason is Reason.OUT_OF_MEMORY
    assert "took the most, 10.0 GiB; use less of it" in found["b"].message


def test_where_another_service_s_worker_takes_the_most_none_of_ours_goes():
    assert guard().judge_shortage({"a": 1}, {1: 9 * GIB, 7: 10 * GIB}, MACHINE) == {}
    assert guard().judge_shortage({"a": 1}, {7: 10 * GIB}, MACHINE) == {}
    assert guard().judge_shortage({"a": 1}, {}, MACHINE) == {}


def test_a_machine_that_others_have_filled_ends_no_training():
    assert guard().judge_shortage({"a": 1}, {1: 2 * GIB}, MACHINE) == {}


def test_the_disk():
    found = guard(disk=GIB).judge_disk({"a": 2 * GIB, "b": GIB}, ROOMY)
    assert {job: why.reason for job, why in found.items()} == {"a": Reason.DISK_FULL}
    assert "VISIONYARD_JOB_DISK_BYTES lets them take 1.0 GiB" in found["a"].message
    assert guard().judge_disk({"a": 90 * GIB}, ROOMY) == {}
    found = guard().judge_disk({"a": 30 * GIB, "b": GIB}, FULL)
    assert list(found) == ["a"]
    assert "0.1 GiB were left" in found["a"].message
    assert guard().judge_disk({"a": 100 << 20}, FULL) == {}, "it is not what filled it"
    assert guard().judge_disk({"a": 9 * GIB}, FULL) == {}, "nor is this, on so large a disk"


@pytest.fixture
def greedy():
    """A process that takes 150 MiB, in a session of its own."""
    program = "import os, sys, time\nown = os.urandom(150 << 20)\nsys.stdout.write('.')\nsys.stdout.flush()\ntime.sleep(60)\n"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.read(1) == b"."
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_who_takes_more_memory_than_it_may_goes(greedy, tmp_path):
    found = guard(memory=100 << 20).look({"a": (greedy.pid, tmp_path), "gone": (1 << 22, tmp_path)})
    assert list(found) == ["a"]
    assert "VISIONYARD_JOB_MEMORY_BYTES lets it take 0.1 GiB" in found["a"].message
    assert guard(memory=GIB).look({"a": (greedy.pid, tmp_path)}) == {}


def test_nobody_goes_for_want_of_memory_before_what_went_has_given_its_own_back(greedy, tmp_path, monkeypatch):
    monkeypatch.setattr(guarding, "memory_room", lambda: MACHINE)
    monkeypatch.setattr(guarding, "workers_here", dict)
    takes = {greedy.pid: 10 * GIB, os.getpid(): 9 * GIB}
    monkeypatch.setattr(guarding, "memory_of", lambda members: takes[members[0].pid] if members else 0)
    now = [0.0]
    watched = guard(clock=lambda: now[0])
    workers = {"greedy": (greedy.pid, tmp_path), "innocent": (os.getpid(), tmp_path)}
    assert list(watched.look(workers)) == ["greedy"]
    takes[greedy.pid] = 0
    assert watched.look(workers) == {}, "it is on its way"
    greedy.kill()
    greedy.wait()
    now[0] += 4
    assert watched.look(workers) == {}, "its memory may not be back"
    now[0] += 2
    assert list(watched.look(workers)) == ["innocent"], "the machine is still short of it"


def test_folders_are_walked_now_and_then_only(tmp_path, monkeypatch):
    walks, now = [], [0.0]
    monkeypatch.setattr(guarding, "folder_bytes", lambda folder: (walks.append(folder), now.__setitem__(0, now[0] + 2))[0] or 0)
    watched = guard(disk=GIB, clock=lambda: now[0])
    for _ in range(60):
        watched.look({"a": (os.getpid(), tmp_path)})
        now[0] += 1
    assert len(walks) == 2, "a walk of 2 s every 40 s"


def test_a_look_at_a_quiet_machine_measures_nothing(tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("it is measured")

    for name in ("memory_of", "folder_bytes", "workers_here", "family_of"):
        monkeypatch.setattr(guarding, name, never)
    monkeypatch.setattr(guarding, "memory_room", lambda: Room(20 * GIB, 24 * GIB))
    monkeypatch.setattr(guarding, "disk_room", lambda _: ROOMY)
    assert guard().look({"a": (os.getpid(), tmp_path)}) == {}
    assert guard().look({}) == {}


class Worker:
    """A child that counts its deaths."""

    def __init__(self):
        self.pid, self.killed = 4_000_000, 0

    def kill_group(self):
        self.killed += 1


async def kept(found, workers):
    """One round of the guard's keeper, and what was sentenced."""

    class Guarding:
        def look(self, _):
            answer = found.pop(0) if found else {}
            if isinstance(answer, Exception):
                raise answer
            return answer

    sentenced = []
    task = asyncio.create_task(keep_guard(Guarding(), workers, lambda child, why: sentenced.append(child)))
    while found:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return sentenced


async def test_only_who_still_works_is_ended_and_trouble_is_no_end(monkeypatch, tmp_path):
    monkeypatch.setattr(guarding, "_LOOK_EVERY_S", 0.0)
    why = guard(memory=1).judge_shortage({"a": 1}, {1: 20 * GIB}, MACHINE)["a"]
    worker, other = Worker(), Worker()
    assert await kept([RuntimeError("odd"), {"a": why}], lambda: {"a": (worker, tmp_path)}) == [worker]
    assert worker.killed >= 1
    answers = iter([{"a": (worker, tmp_path)}])
    assert await kept([{"a": why}], lambda: next(answers, {"a": (other, tmp_path)})) == [], "another attempt's by now"
    assert other.killed == 0
