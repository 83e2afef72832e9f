import asyncio
import errno
import sys

import pytest

from visionyard.local import probes
from visionyard.local.child import Child, StartFailed, rotate, tail
from visionyard.local.machine import parse_gpus
from visionyard.local.specification import ProcessSpec


def spec(tmp_path, code, **more):
    command = (sys.executable, "-c", code)
    return ProcessSpec("thing", command, {"MARK": "mine"}, tmp_path / "work", more.pop("ready", lambda: True), "127.0.0.1:1", **more)


async def started(child, restarts):
    while child.describe()["restarts"] < restarts or not child.pid:
        await asyncio.sleep(0.02)


async def test_what_ends_is_started_again_until_it_is_stopped(tmp_path):
    child = Child(spec(tmp_path, "import time; time.sleep(600)"), tmp_path / "log", {}, lambda: None)
    child.start()
    await child.wait_ready()
    first = child.pid
    child.kill()
    await asyncio.wait_for(started(child, 1), 20)
    assert child.pid != first
    await child.stop()
    assert child.pid == 0
    assert child.state == "stopped"


async def test_a_process_that_never_comes_up_is_told_with_the_end_of_its_log(tmp_path):
    child = Child(spec(tmp_path, "raise SystemExit('no kettle here')", ready=lambda: False), tmp_path / "log", {}, lambda: None)
    child.start()
    with pytest.raises(StartFailed, match=r"(?s)thing ended with exit code 1 each time.*no kettle here"):
        await child.wait_ready()
    await child.stop()


async def test_what_cannot_be_started_for_a_while_is_started_later(tmp_path):
    tries = []

    def prepare():
        tries.append(1)
        if len(tries) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    child = Child(spec(tmp_path, "import time; time.sleep(600)", prepare=prepare), tmp_path / "log", {}, lambda: None)
    child.start()
    await asyncio.wait_for(child.wait_ready(), 20)
    assert len(tries) == 3
    assert child.pid
    await child.stop()


async def test_what_can_never_be_started_is_told(tmp_path):
    missing = ProcessSpec("thing", ("/no/such/program",), {}, tmp_path / "work", lambda: False, "127.0.0.1:1")
    child = Child(missing, tmp_path / "log", {}, lambda: None, outlives=True)
    child.start()
    with pytest.raises(StartFailed, match=r"thing could not be started \(.*No such file.*/no/such/program.*\) each time"):
        await child.wait_ready()
    await child.stop()


async def test_one_that_is_never_ready_is_told_after_its_time(tmp_path):
    waiting = spec(tmp_path, "import time; time.sleep(600)", ready=lambda: False, start_timeout_s=0.5)
    child = Child(waiting, tmp_path / "log", {}, lambda: None)
    child.start()
    with pytest.raises(StartFailed, match="was not ready within"):
        await child.wait_ready()
    await child.stop()


async def test_one_that_ignores_sigterm_is_killed_after_its_grace(tmp_path):
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('deaf', 'w').close(); time.sleep(600)"
    deaf = spec(tmp_path, code, ready=(tmp_path / "work" / "deaf").exists, stop_grace_s=0.3)
    child = Child(deaf, tmp_path / "log", {}, lambda: None)
    child.start()
    await child.wait_ready()
    await asyncio.wait_for(child.stop(), 10)
    assert child.pid == 0


async def test_output_and_environment_are_its_own(tmp_path):
    code = "import os, time; print(os.environ['MARK'], os.environ['ALL'], flush=True); open('told', 'w').close(); time.sleep(600)"
    child = Child(spec(tmp_path, code, ready=(tmp_path / "work" / "told").exists), tmp_path / "log", {"ALL": "ours"}, lambda: None)
    child.start()
    await child.wait_ready()
    await child.stop()
    assert (tmp_path / "log").read_text() == "mine ours\n"


def test_a_log_that_grew_is_moved_and_emptied_in_place(tmp_path):
    log = tmp_path / "a.log"
    with log.open("ab") as writer:
        writer.write(b"x" * 100)
        writer.flush()
        rotate(log, limit_bytes=50)
        writer.write(b"after")
    assert log.read_bytes() == b"after"
    assert (tmp_path / "a.log.1").read_bytes() == b"x" * 100


def test_the_tail_of_a_log_is_its_last_lines(tmp_path):
    (tmp_path / "log").write_text("".join(f"{n}\n" for n in range(10_000)))
    assert tail(tmp_path / "log", 2) == "9998\n9999"
    assert tail(tmp_path / "none") == ""


def test_gpus_are_read_from_nvidia_smi():
    assert parse_gpus("NVIDIA A100-SXM4-40GB, 40000, 40960, 570.124.06\n") == [
        {
            "name": "NVIDIA A100-SXM4-40GB",
            "memory_free_bytes": 40000 << 20,
            "memory_total_bytes": 40960 << 20,
            "driver_version": "570.124.06",
        }
    ]
    assert parse_gpus("Orin, [N/A], [N/A], 540.4.0\n")[0]["memory_free_bytes"] == 0
    assert parse_gpus("") == []


def test_nobody_listening_is_a_no():
    assert not probes.is_serving("127.0.0.1:1")
