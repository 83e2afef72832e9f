"""Runs the operator's command, as they wrote it, in a shell."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

_MOST_SHOWN_BYTES = 4000
_SECRET_WORDS = ("SECRET", "TOKEN", "PASSWORD", "ACCESS_KEY", "END_COMMAND")


class CommandFailed(Exception):
    """The command ended with an error, or did not end; the message says how, and what it printed last."""


def run_command(command: str, timeout_s: float, folder: Path) -> str:
    """Runs a command with ``/bin/sh -c`` and waits for its end; a process that it leaves in the background goes on. Blocks.

    The store's keys and other secrets of ours are not in its environment.

    Args:
        command: What to run.
        timeout_s: How long it may take, in seconds; then its process group is killed.
        folder: Its working directory; must exist.

    Returns:
        What it printed, the last 4,000 bytes.

    Raises:
        CommandFailed: it could not be started, ended with another status than 0, or took too long.
    """
    environment = {name: value for name, value in os.environ.items() if not _is_secret(name)}
    # A file, not a pipe: what the command leaves in the background may keep a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )
        except OSError as error:
            raise CommandFailed(f"it could not be started: {error}") from error
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            raise CommandFailed(
                f"it had not ended after {timeout_s:.0f} s and was killed; it printed: {_printed(output.fileno())}"
            ) from None
        printed = _printed(output.fileno())
    if status:
        raise CommandFailed(f"it ended with status {status} and printed: {printed or 'nothing'}")
    return printed


def _is_secret(name: str) -> bool:
    return name.startswith("VISIONYARD_") and any(word in name for word in _SECRET_WORDS)


def _printed(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, _MOST_SHOWN_BYTES, max(size - _MOST_SHOWN_BYTES, 0))
    return data.decode(errors="replace").strip()
