"""A program in a process of its own: what it inherits, what becomes of its output, and that nothing of it stays."""

import json
import logging
import sys
import time
from pathlib import Path

import pytest

from visionyard.dataset.converting.confined import TookTooLong, run_confined


@pytest.fixture
def run(tmp_path):
    def run(code, timeout_s=60, check=lambda: None, **environment):
        return run_confined([sys.executable, "-I", "-c", code], environment, tmp_path, timeout_s, check)

    return run


def alive(pid):
    return Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_it_inherits_nothing_secret_and_no_proxy(run, tmp_path, monkeypatch):
    for name in ("VISIONYARD_S3_SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "https_proxy", "HTTP_PROXY", "PYTHONPATH"):
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("VISIONYARD_STACK_ID", "stack")
    code = "import json, os; json.dump([dict(os.environ), os.getcwd(), os.getsid(0) == os.getpid()], open('told', 'w'))"
    assert run(code, ADDED="1") == 0
    environment, folder, leads = json.loads((tmp_path / "told").read_text())
    assert "hidden" not in environment.values()
    assert {"VISIONYARD_STACK_ID": "stack", "ADDED": "1", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}.items() <= environment.items()
    assert (folder, leads) == (str(tmp_path), True)


def test_its_output_goes_to_the_log_up_to_a_limit(run, caplog):
    caplog.set_level(logging.INFO)
    code = "import sys; print('out\\x1b[31m'); print('err', file=sys.stderr, flush=True); sys.stdout.write('x' * 100000 + '\\n' + 'y' * 10); sys.exit(3)"
    assert run(code) == 3
    assert {"out [31m", "err", "y" * 10} <= set(caplog.messages)
    assert max(map(len, caplog.messages)) == 2000
    caplog.clear()
    assert run("[print('x' * 999) for _ in range(5000)]") == 0
    assert 1000 < len(caplog.messages) < 1200
    assert caplog.messages[-1] == "more of its output is not logged"


def test_it_may_close_its_output_and_go_on(run):
    assert run("import os, time; os.close(1); os.close(2); time.sleep(0.5)") == 0


SPREAD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("pids.part", "w").write(f"{os.getpid()} {child.pid}")
os.rename("pids.part", "pids")
"""


def pids(folder):
    path = folder / "pids"
    return list(map(int, path.read_text().split())) if path.exists() else []


def gone(folder):
    end = time.monotonic() + 20
    while any(map(alive, pids(folder))):
        assert time.monotonic() < end
        time.sleep(0.02)
    return len(pids(folder)) == 2


def test_what_it_started_ends_with_it(run, tmp_path):
    assert run(SPREAD) == 0
    assert gone(tmp_path)


def test_a_stop_ends_it_with_what_it_started(run, tmp_path):
    def check():
        if pids(tmp_path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(SPREAD + "time.sleep(600)", check=check)
    assert gone(tmp_path)


def test_so_does_its_time(run, tmp_path):
    with pytest.raises(TookTooLong):
        run(SPREAD + "time.sleep(600)", timeout_s=3)
    assert gone(tmp_path)


def test_the_signal_that_ended_it_is_told(run, tmp_path):
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)") == -9
    with pytest.raises(OSError, match="no-such"):
        run_confined([str(tmp_path / "no-such")], {}, tmp_path, 5, lambda: None)
