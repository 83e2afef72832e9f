"""What `yard up`, `yard down` and `yard status` call."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from visionyard.local import leftovers, machine, supervisor, triton
from visionyard.local.child import tail
from visionyard.local.state import StateDir, SupervisorLock, read_json, resolve_state_dir, supervisor_pid

_DOWN_S = 14.0
_POLL_S = 0.05
_INTERRUPTED = 130
_LOG_BYTES = 16 * 1024 * 1024


class StackError(Exception):
    """The stack could not be started or stopped; the message is one sentence for people: what happened, where, what to do."""


@dataclass(frozen=True)
class Up:
    """A stack that is up.

    Attributes:
        state_dir: Its state directory, absolute.
        already: Whether it was up before; nothing was touched then.
        processes: As in :func:`status`.
    """

    state_dir: Path
    already: bool
    processes: list[dict[str, Any]]


def up(directory: str | Path | None, *, any_port: bool, detach: bool, on_ready: Callable[[Up], None]) -> int:
    """Starts a stack, or finds it running.

    With ``detach`` returns once everything is healthy. Without, it *is* the supervisor until SIGINT or SIGTERM stops the stack. A stack that runs already is
    left alone, and the call returns at once either way.

    Args:
        directory: The state directory; see ``state.resolve_state_dir``.
        any_port: Whether free ports will do where the default ones are taken.
        detach: Whether to leave the stack running in the background.
        on_ready: Called once, when everything is healthy (or was running already).

    Returns:
        The exit code: 0, or 130 where Ctrl-C stopped it before it was ready.

    Raises:
        StackError: it could not be started; whatever had been started is gone again.
    """
    state = StateDir(resolve_state_dir(directory))
    try:
        state.create()
    except OSError as error:
        raise StackError(f"the state directory {state.root} cannot be made: {error.strerror}; choose another with --dir") from error
    running = _await_running(state)
    if running is not None:
        on_ready(Up(state.root, already=True, processes=running))
        return 0
    return _up_detached(state, on_ready, any_port=any_port) if detach else _up_here(state, on_ready, any_port=any_port)


def _await_running(state: StateDir) -> list[dict[str, Any]] | None:
    """The processes of a stack that runs already, or that somebody else is starting just now; None where there is none, or it has ended."""
    while supervisor_pid(state) is not None:
        processes = state.processes()
        if any(p.get("name") == "supervisor" and p.get("state") == "running" for p in processes):
            return processes
        time.sleep(_POLL_S)
    return None


def _up_detached(state: StateDir, on_ready: Callable[[Up], None], *, any_port: bool) -> int:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "visionyard.local.supervisor", "--dir", str(state.root), "--report", str(writing)]
    if any_port:
        command.append("--any-port")
    environment = {name: value for name, value in os.environ.items() if name != leftovers.STACK_ID_VARIABLE}
    log = state.log("supervisor")
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=state.root,
            start_new_session=True,
            pass_fds=[writing],
        )
    os.close(writing)
    try:
        with os.fdopen(reading) as report:
            line = report.readline()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return _INTERRUPTED
    if not line:
        process.wait()
        raise StackError(f"the supervisor ended before the stack was up; see {log}, which ends with:\n{tail(log)}")
    told = json.loads(line)
    if "error" in told:
        process.wait()
        raise StackError(str(told["error"]))
    process.returncode = 0  # it lives on; nobody waits for it here
    on_ready(Up(state.root, already=False, processes=told["processes"]))
    return 0


def _up_here(state: StateDir, on_ready: Callable[[Up], None], *, any_port: bool) -> int:
    lock = SupervisorLock(state)
    if not lock.acquire():
        raise StackError(f"another supervisor of {state.root} has just been started; try again")
    was_ready = False

    def tell(processes: list[dict[str, Any]]) -> None:
        nonlocal was_ready
        was_ready = True
        on_ready(Up(state.root, already=False, processes=processes))

    handler = RotatingFileHandler(state.log("supervisor"), maxBytes=_LOG_BYTES, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("visionyard.local")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # the terminal shows what the user asked for, the log has the rest
    try:
        supervisor.run(state, any_port=any_port, on_ready=tell)
    except supervisor.CannotStart as error:
        raise StackError(str(error)) from error
    finally:
        logger.removeHandler(handler)
        handler.close()
        lock.release()
    return 0 if was_ready else _INTERRUPTED


def down(directory: str | Path | None) -> bool:
    """Stops a stack: services drain, workers give their jobs back, then Triton and the store; within 10 s nothing is left.

    Returns:
        Whether there was anything to stop.

    Raises:
        StackError: something is left after all.
    """
    state = StateDir(resolve_state_dir(directory))
    known = read_json(state.root / "stack.json")
    if known is None:
        return False
    pid = supervisor_pid(state)
    if pid is not None:
        _end_supervisor(state, pid)
    stack_id = state.stack_id()
    left = leftovers.find(stack_id)
    if not leftovers.kill_all(stack_id):
        raise StackError(f"processes of the stack in {state.root} could not be ended: {', '.join(str(p.pid) for p in left)}")
    triton.remove_remains(stack_id)
    state.forget()
    return pid is not None or bool(left)


def _end_supervisor(state: StateDir, pid: int) -> None:
    """SIGTERM, and SIGKILL where it takes too long: its guard then ends the rest."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + _DOWN_S
    while supervisor_pid(state) == pid:
        if time.monotonic() > end:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            end = time.monotonic() + _DOWN_S
        time.sleep(_POLL_S)


def status(directory: str | Path | None) -> dict[str, Any]:
    """What runs, without importing anything heavy.

    Returns:
        ``{"state_dir", "running": bool, "processes": [{"name", "pid" (0: none), "address", "metrics_address", "state" ("running", "starting",
        "restarting", "stopping", "stopped"), "started" (RFC 3339), "restarts"}], "endpoints": {service: address}, "versions": {package: version},
        "gpus": [{"name", "memory_free_bytes", "memory_total_bytes", "driver_version"}], "disk": {"free_bytes", "total_bytes"}}``. Not running: processes is empty.
    """
    state = StateDir(resolve_state_dir(directory))
    running = supervisor_pid(state) is not None
    return {
        "state_dir": str(state.root),
        "running": running,
        "processes": state.processes() if running else [],
        "endpoints": (read_json(state.endpoints_file) or {}) if running else {},
        "versions": machine.versions(),
        "gpus": machine.gpus(),
        "disk": machine.disk(state.root),
    }
