"""Progress goes to the terminal, results to stdout, wherever that leads."""

import os
import pty
import subprocess
import sys
import threading

SCRIPT = """
import sys
from visionyard.cli import output
from visionyard.cli.progress import ProgressDisplay, Step
with ProgressDisplay() as progress:
    progress.update(Step("predicting", 1, 2, "images"))
    output.write("the result")
    output.write_json({"a": 1}, line=True)
    progress.say("a message")
    progress.update(Step("predicting", 2, 2, "images"))
"""


def run(*, stdout_is_terminal):
    """What the script wrote to stdout (where that is a pipe), and to its terminal."""
    master, terminal = pty.openpty()
    stdout = terminal if stdout_is_terminal else subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=subprocess.DEVNULL, stdout=stdout, stderr=terminal)
    os.close(terminal)
    seen = bytearray()

    def read():
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:  # the other side is closed
                return
            seen.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    written, _ = process.communicate(timeout=30)
    reader.join(10)
    os.close(master)
    assert process.returncode == 0
    return (written or b"").decode(), seen.decode()


def test_results_go_where_stdout_leads_while_a_bar_is_on_the_terminal():
    written, seen = run(stdout_is_terminal=False)
    assert written.splitlines() == ["the result", '{"a": 1}']
    assert "the result" not in seen
    assert "a message" in seen
    assert "predicting" in seen


def test_results_stand_above_the_bar_where_both_are_the_terminal():
    _, seen = run(stdout_is_terminal=True)
    assert "the result" in seen
    assert "predicting" in seen
