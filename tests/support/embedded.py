"""An embedded stack with a state directory of its own, driven with the `yard` command as a user would."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from visionyard.local import leftovers
from visionyard.local.state import StateDir

YARD = Path(sys.executable).parent / "yard"


class Stack:
    def __init__(self, home):
        self.home = home
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("VISIONYARD_")}

    def yard(self, *words, timeout=200, **environment):
        command = [YARD, *map(str, words), "--dir", str(self.home)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def json(self, *words, **environment):
        """What a command that must succeed printed."""
        done = self.yard(*words, "--json", timeout=900, **environment)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()] if words[0] == "predict" else json.loads(done.stdout)

    def up(self, *words):
        return self.json("up", "--detach", "--any-port", *words)

    def down(self):
        return self.json("down")

    def status(self):
        return self.json("status")

    def process(self, name):
        """The supervisor's own record: asking `yard` each time would only add its start."""
        return next((p for p in StateDir(self.home).processes() if p["name"] == name), {})

    def living(self):
        return leftovers.find(StateDir(self.home).stack_id())

    def kill(self, name):
        pid = self.process(name)["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid


def until(condition, seconds):
    """How long it took until the condition held."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - began
