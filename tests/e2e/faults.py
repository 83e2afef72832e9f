"""`make faults`: `kill -9` of each process of the stack in each phase of the line, on a shortened line; writes docs/reliability.md.

The store, Triton, services and workers must come back and the command under way must end well by itself. After the client was killed, the same command
again must; after the supervisor was killed, `yard up` and the same command again. ``--only store:train client:upload`` runs some of it, writing nothing.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from visionyard.local import leftovers, sample
from visionyard.local.state import StateDir

ROOT = Path(__file__).resolve().parents[2]
YARD = Path(sys.executable).parent / "yard"
PROCESSES = ("store", "triton", "dataset", "training", "export", "inference", "worker", "supervisor", "client")
PHASES = ("upload", "import", "train", "export", "deploy", "predict")
WITH_WORKER = {"import", "train", "export"}
BALLAST_BYTES = 96 * 1024 * 1024
COMMAND_TIMEOUT_S = 900
PHASE_TIMEOUT_S = 240
PICTURES = 400
Found = TypeVar("Found")
_UNSEEN = "the phase was not seen"


@dataclass
class Outcome:
    """A row of the table.

    Attributes:
        process: Who was killed.
        phase: When, by name.
        second: When, in seconds after the command was given.
        took: Seconds from the kill to the command's good end.
        told: ``went on``, or what went wrong.
    """

    process: str
    phase: str
    second: float
    took: float
    told: str

    @property
    def well(self) -> bool:
        return self.told.startswith("went on")


class Running:
    """A `yard` command under way, whose messages are read as they come."""

    def __init__(self, command: Sequence[str]) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(iter(self.process.stderr.readline, ""))

    def wait_for(self, word: str) -> bool:
        """Whether the command said ``word`` before it ended."""
        end = time.monotonic() + PHASE_TIMEOUT_S
        while time.monotonic() < end:
            if any(word in line for line in self.said):
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.02)
        return False

    def end(self) -> int:
        code = self.process.wait(COMMAND_TIMEOUT_S)
        self._reader.join(5)
        return code

    @property
    def last_words(self) -> str:
        return self.said[-1].strip()[:200] if self.said else "it said nothing"


class Line:
    """The shortened line on a stack of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.turn = 0
        sample.generate(folder / "sample", 24)
        sample.generate(folder / "many", PICTURES, seed=2)
        self.pictures = [str(p) for p in sorted((folder / "many" / "images").rglob("*.jpg"))]

    def yard(self, *words: object) -> list[str]:
        return [str(YARD), *map(str, words), "--dir", str(self.home)]

    def must(self, *words: object) -> None:
        done = subprocess.run(self.yard(*words), capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
        if done.returncode:
            raise SystemExit(f"yard {' '.join(map(str, words))} exited {done.returncode}: {done.stderr[-800:]}")

    def up(self) -> None:
        self.must("up", "--detach", "--any-port")

    def prepare(self) -> None:
        """What the later phases start from."""
        self.up()
        self.must("dataset", "import", self.folder / "sample", "--name", "base")
        self.must("train", "base", *self._training("base"))
        self.must("export", "base", "--format", "onnx")
        self.must("deploy", "base", "--name", "base")

    def _training(self, name: str, epochs: int = 1) -> list[object]:
        return ["--model", "yolov8n.yaml", "--name", name, "--epochs", epochs, "--imgsz", 64, "--batch", 8, "--set", "plots=False"]

    def command(self, phase: str) -> tuple[list[str], str]:
        """The command of a phase, new in each turn so that nothing is there yet, and the word by which the phase shows itself."""
        self.turn += 1
        name = f"turn{self.turn}"
        if phase == "upload":
            return self.yard("dataset", "import", self._fresh_set(name), "--name", name), "uploading"
        if phase == "import":  # many pictures, so that it takes long enough to be hit
            return self.yard("dataset", "import", self.folder / "many", "--name", name), "reading the archive"
        if phase == "train":
            return self.yard("train", "base", *self._training(name, epochs=4)), "epoch 2/"
        if phase == "export":
            self.must("train", "base", *self._training(name))
            return self.yard("export", name, "--format", "onnx"), "looking for the artifact"
        if phase == "deploy":
            return self.yard("deploy", "base", "--name", name), ""
        return self.yard("predict", "base", *self.pictures), ""

    def _fresh_set(self, name: str) -> Path:
        folder = self.folder / name
        sample.generate(folder, 24, seed=self.turn)
        (folder / "notes.bin").write_bytes(os.urandom(BALLAST_BYTES))  # so that an upload takes long enough to be hit
        return folder

    def victim(self, process: str, running: Running) -> int:
        """The pid to kill; 0 where there is none just now."""
        if process == "client":
            return running.process.pid
        state = StateDir(self.home)
        if process == "worker":
            return next((p.pid for p in leftovers.find(state.stack_id()) if p.is_worker), 0)
        return next((int(p["pid"]) for p in state.processes() if p["name"] == process), 0)

    def case(self, process: str, phase: str) -> Outcome:
        """Kills ``process`` in ``phase`` and sees how it ends."""
        command, word = self.command(phase)
        running = Running(command)
        time.sleep(0.6)
        if word and not running.wait_for(word):
            return Outcome(process, phase, time.monotonic() - running.began, 0, f"{_UNSEEN}: {running.last_words}")
        pid = _wait(lambda: self.victim(process, running))
        second = time.monotonic() - running.began
        if not pid:
            return Outcome(process, phase, second, 0, "there was nothing to kill")
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        code = running.end()
        told = "went on by itself"
        if process in {"client", "supervisor"}:
            if process == "supervisor":
                self.up()
            again = Running(command)
            code, told = again.end(), "went on when the command was given again"
            running = again
        if code:
            told = f"exit {code}: {running.last_words}"
        self._settle()
        return Outcome(process, phase, second, time.monotonic() - killed, told)

    def _settle(self) -> None:
        """Waits until the whole stack runs again, so that each case begins alike."""
        state = StateDir(self.home)
        if not _wait(lambda: bool(state.processes()) and all(p["state"] == "running" for p in state.processes()), 60):
            raise SystemExit(f"not everything came back within 60 s: {state.processes()}")


def _wait(find: Callable[[], Found], seconds: float = 20) -> Found:
    end = time.monotonic() + seconds
    while not (found := find()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def cases(only: Sequence[str]) -> Iterator[tuple[str, str]]:
    """All pairs, or those asked for; workers live in three phases only."""
    for phase in PHASES:
        for process in PROCESSES:
            if (process != "worker" or phase in WITH_WORKER) and (not only or f"{process}:{phase}" in only):
                yield process, phase


def report(rows: Sequence[Outcome]) -> str:
    """docs/reliability.md."""
    lines = [
        "# What survives `kill -9`",
        "",
        "Written by `make faults`: each process of the embedded stack was killed in each phase of a shortened line. *Second* is when, after the command was given;",
        "*took* is the time from the kill until the command had ended well and every process was running again. After the client or the supervisor was killed the",
        "same command was given again (after `yard up`, for the supervisor); everything else went on without a person.",
        "",
        "| process | phase | second | took | outcome |",
        "|---|---|---:|---:|---|",
        *(f"| {row.process} | {row.phase} | {row.second:.1f} | {row.took:.1f} s | {row.told} |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], metavar="PROCESS:PHASE")
    options = parser.parse_args()
    rows: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="visionyard-faults-") as folder:
        line = Line(Path(folder))
        try:
            line.prepare()
            for process, phase in cases(options.only):
                row = line.case(process, phase)
                for _ in range(2):  # nothing was killed where the command was faster than its messages: tried again
                    if row.told.startswith(_UNSEEN):
                        row = line.case(process, phase)
                rows.append(row)
                sys.stdout.write(
                    f"{'OK  ' if row.well else 'FAIL'} {process:<11}{phase:<8}{row.second:6.1f} s {row.took:6.1f} s  {row.told}\n"
                )
                sys.stdout.flush()
        finally:
            subprocess.run(line.yard("down"), stdout=subprocess.DEVNULL, check=False)
    if not options.only:
        (ROOT / "docs" / "reliability.md").write_text(report(rows), encoding="utf-8")
    return 0 if rows and all(row.well for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
