"""Child processes that this room starts for a moment: one that asks Ultralytics about itself, one that opens a stranger's weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "VISIONYARD_STACK_ID")
"""What a child gets of this process's environment: nothing secret. The stack's id lets a supervisor find it."""


class ChildFailed(Exception):
    """The child died, or took too long."""


def run_child(module: str, arguments: list[str], report: Path, timeout_s: float) -> dict[str, Any]:
    """Runs ``python -m module arguments report`` in a session of its own and reads the JSON that it writes to ``report``. Blocks.

    Args:
        module: What to run.
        arguments: What comes before the report's path.
        report: The file that the child writes; its folder is the child's working directory.
        timeout_s: After so many seconds the child is killed with all that it started.

    Raises:
        ChildFailed: it did not end with exit code 0 in time.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {"HOME": str(report.parent)}
    if "PYTHONPATH" in environment:  # the child has another working directory
        environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in environment["PYTHONPATH"].split(os.pathsep))  # noqa: PTH100 - resolve() would follow links
    # -P: a stranger's file beside it must not be importable.
    command = [sys.executable, "-P", "-m", module, *arguments, str(report)]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=report.parent,
        start_new_session=True,
    ) as child:
        try:
            _, errors = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise ChildFailed(f"{module} took longer than {timeout_s:g} s") from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
    if child.returncode != 0:
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise ChildFailed(f"{module} ended with exit code {child.returncode}: {last[0][:500]}")
    document: dict[str, Any] = json.loads(report.read_text())
    return document
