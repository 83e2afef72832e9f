"""What `yard up`, `yard down` and `yard status` call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
    raise NotImplementedError


def down(directory: str | Path | None) -> bool:
    """Stops a stack: services drain, workers give their jobs back, then Triton and the store; within 10 s nothing is left.

    Returns:
        Whether there was anything to stop.

    Raises:
        StackError: something is left after all.
    """
    raise NotImplementedError


def status(directory: str | Path | None) -> dict[str, Any]:
    """What runs, without importing anything heavy.

    Returns:
        ``{"state_dir", "running": bool, "processes": [{"name", "pid" (0: none), "address", "metrics_address", "state" ("running", "starting",
        "restarting", "stopping", "stopped"), "started" (RFC 3339), "restarts"}], "endpoints": {service: address}, "versions": {package: version},
        "gpus": [{"name", "memory_free_bytes", "memory_total_bytes", "driver_version"}], "disk": {"free_bytes", "total_bytes"}}``. Not running: processes is empty.
    """
    raise NotImplementedError
