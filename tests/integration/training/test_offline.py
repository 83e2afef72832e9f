"""No network at run time: store, service's parts and worker run in a network namespace with nothing in it but loopback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

UNSHARE = ("unshare", "--map-root-user", "--net")
LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING: netdevice(7)
os.execv(sys.argv[1], sys.argv[1:])
"""


def namespaces_refused() -> str:
    """Why no network namespace can be made here; empty where one can."""
    try:
        done = subprocess.run([*UNSHARE, "true"], check=False, capture_output=True, text=True, timeout=30)
    except OSError as error:
        return f"unshare cannot be run ({error})"
    return done.stderr.strip() if done.returncode else ""


@pytest.mark.namespaces
@pytest.mark.timeout(960)
def test_a_training_runs_where_there_is_no_network(tmp_path):
    if refused := namespaces_refused():
        pytest.skip(f"no network namespace can be made here: {refused}")
    inside = Path(__file__).with_name("offline_run.py")
    command = [sys.executable, "-m", "pytest", str(inside), "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inside'}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-c", LOOPBACK_UP, *command], check=False, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[3], timeout=900
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "1 passed" in done.stdout
