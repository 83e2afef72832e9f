"""Runs the operator's command, as they wrote it, in a shell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

_MOST_SHOWN_BYTES = 4000
_LEFT_OUT = ("SECRET", "TOKEN", "PASSWORD", "ACCESS_KEY", "END_COMMAND", "STACK_ID")
"""Secrets; and by the stack's id `yard down` knows whom to kill: a command that runs it must live on."""
_TELLING_CHARACTERS = 8
_KILLED_WAIT_S = 5.0
_SHELLS_SIGTERM = 128 + signal.SIGTERM
"""The status of a shell whose own command SIGTERM has ended."""


class CommandFailed(Exception):
    """The command ended with an error, or did not end; the message says how, and what it printed last."""


class Interrupted(Exception):
    """Somebody ended the command (SIGTERM): the machine is on its way down, or only this service."""


def run_command(command: str, timeout_s: float, folder: Path) -> str:
    """Runs a command with ``/bin/sh -c`` and waits for its end; a process that it leaves in the background goes on. Blocks.

    The store's keys and other secrets of ours are not in its environment.

    Args:
        command: What to run.
        timeout_s: How long it may take, in seconds; then its process group is killed.
        folder: Its working directory; where it cannot be made, on a full disk, say, the root directory is.

    Returns:
        What it printed, the last 4,000 bytes, without the longer words of the command itself, which may be secret.

    Raises:
        CommandFailed: it could not be started, ended with another status than 0, or took too long.
        Interrupted: SIGTERM ended it.
    """
    environment = {name: value for name, value in os.environ.items() if not _is_secret(name)}
    try:
        # A file, not a pipe, which what the command leaves in the background may keep open for ever; in memory, since the disk may be full.
        with os.fdopen(os.memfd_create("output"), "w+b") as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=_made(folder),
                start_new_session=True,
            )
            status = _ended(process, timeout_s)
            printed = _without(command, _printed(output.fileno()))
    except OSError as error:
        raise CommandFailed(f"it could not be run: {error}") from error
    if status is None:
        raise CommandFailed(f"it had not ended after {timeout_s:.0f} s and was killed; it printed: {printed or 'nothing'}")
    if status in {-signal.SIGTERM, _SHELLS_SIGTERM}:
        raise Interrupted("it was interrupted")
    if status:
        raise CommandFailed(f"it ended with status {status} and printed: {printed or 'nothing'}")
    return printed


def _made(folder: Path) -> Path:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder if folder.is_dir() else Path("/")


def _ended(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """The status with which it ended; None where it had to be killed."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        with suppress(PermissionError, ProcessLookupError):  # sudo's children are not ours to kill
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_KILLED_WAIT_S)
        return None


def _is_secret(name: str) -> bool:
    return name.startswith("VISIONYARD_") and any(word in name for word in _LEFT_OUT)


def _printed(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, _MOST_SHOWN_BYTES, max(size - _MOST_SHOWN_BYTES, 0))
    return data.decode(errors="replace").strip()


def _without(command: str, printed: str) -> str:
    """What was printed without words of the command: a shell repeats a line that it cannot read, keys and all."""
    for word in sorted(set(re.findall(rf"[^\s'\"]{{{_TELLING_CHARACTERS},}}", command)), key=len, reverse=True):
        printed = printed.replace(word, "***")
    return printed
