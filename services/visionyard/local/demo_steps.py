"""The steps of `make run`: each is done by the `yard` command as a user would, noted when it is done, and not done again by a run that goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionyard.local.state import read_json, write_atomically

STATE_DIR = Path(".visionyard")
STEPS = ("start", "sample", "import", "train", "export", "deploy", "predict")
_SHOW_CURSOR = "\x1b[?25h\n"
"""ECMA-48's DECTCEM, as rich writes it."""


class StepFailed(Exception):
    """A step of the line failed; the message is what `yard` said."""


@dataclass
class Line:
    """The run under way.

    Attributes:
        arguments: What it was asked for; another question begins anew.
        yard: The command.
        steps: Name, seconds and result of each finished step, in order.
    """

    arguments: dict[str, Any]
    yard: Path
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def in_order(self) -> dict[str, dict[str, Any]]:
        """The finished steps in the line's order: a run that was taken up again started the stack last."""
        return {name: self.steps[name] for name in STEPS if name in self.steps}

    @property
    def _notes(self) -> Path:
        return STATE_DIR / "demo.json"

    def recall(self) -> None:
        """Takes over what an interrupted run with the same arguments has finished."""
        known = read_json(self._notes)
        if known and known.get("arguments") == self.arguments and isinstance(known.get("steps"), dict):
            self.steps = known["steps"]

    def forget(self) -> None:
        """Makes the next run begin anew."""
        self._notes.unlink(missing_ok=True)

    def step(self, name: str, what: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Does a step unless it was done before, and notes its time and result.

        Raises:
            StepFailed: it failed.
        """
        if name in self.steps:
            say(f"{name}: done before, {self.steps[name]['told']}")
            return dict(self.steps[name]["result"])
        say(f"{name}: {what}")
        began = time.monotonic()
        result = work()
        self.steps[name] = {"seconds": round(time.monotonic() - began, 1), "told": str(result.pop("told", "")), "result": result}
        write_atomically(self._notes, json.dumps({"arguments": self.arguments, "steps": self.steps}) + "\n")
        return result

    def call(self, *words: object) -> list[dict[str, Any]]:
        """Runs ``yard … --json``; its messages go to stderr as they come. The documents that it printed.

        Raises:
            StepFailed: it exited with something else than 0.
        """
        command = [str(self.yard), *map(str, words), "--dir", str(STATE_DIR), "--json"]
        # In a session of its own, so that a Ctrl-C is this process's alone: `yard` would take it for the end of its request, and the same
        # command would begin another job. Killed, it leaves the request open, and the next run joins the job.
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
            try:
                printed, _ = child.communicate()
            except BaseException:
                child.kill()
                if sys.stderr.isatty():
                    sys.stderr.write(_SHOW_CURSOR)  # which its progress bar had hidden
                raise
        if child.returncode:
            raise StepFailed(f"yard {' '.join(map(str, words[:2]))} exited with {child.returncode}")
        return [json.loads(line) for line in printed.splitlines()] if "predict" in words[:1] else [json.loads(printed)]


def say(text: str) -> None:
    """A line on stderr, at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
