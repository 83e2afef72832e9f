"""`make faults`: `kill -9` of each process of the stack in each phase of the line, on a shortened line; writes its part of docs/reliability.md.

The store, Triton, services and workers must come back and the command under way must end well by itself. After the client was killed, the same command
again must; after the supervisor was killed, `yard up` and the same command again. A kill comes when the phase has shown itself: by the command's messages, by
its answers, or by what the service says of the deployment. ``--only store:train client:upload`` runs some of it, writing nothing.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from visionyard.client import Client, ClientError
from visionyard.inference.v1 import deployment_pb2
from visionyard.local import leftovers, sample
from visionyard.local.state import StateDir

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from reliability import write_part  # noqa: E402 - the path comes first

YARD = Path(sys.executable).parent / "yard"
PROCESSES = ("store", "triton", "dataset", "training", "export", "inference", "worker", "supervisor", "client")
PHASES = ("upload", "import", "train", "export", "deploy", "predict")
WITH_WORKER = {"import", "train", "export"}
BALLAST_BYTES = 96 * 1024 * 1024
COMMAND_TIMEOUT_S = 900
PHASE_TIMEOUT_S = 240
BACK_S = 60
"""Within this time store, Triton, services and workers must run again (a worker whose job ends before needs no successor)."""
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
        told: ``went on``, or what went wrong.
        took: Seconds from the kill to the command's good end.
        back: Seconds from the kill until the process ran again; None where it comes back by nobody but a person.
    """

    process: str
    phase: str
    second: float
    told: str
    took: float = 0
    back: float | None = None

    @property
    def well(self) -> bool:
        return self.told.startswith("went on")


def works(process: leftovers.Process) -> bool:
    """Whether a process is a worker that has a job; one that waits for its job writes nowhere."""
    if not process.is_worker:
        return False
    try:
        return Path(f"/proc/{process.pid}/fd/1").readlink() != Path(os.devnull)
    except OSError:
        return False


class Running:
    """A `yard` command under way, whose messages and answers are read as they come.

    Args:
        command: Its words.
        environment: Its environment; None: this process's own.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
        )
        self.said: list[str] = []
        self.answers: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stderr, self.said), (self.process.stdout, self.answers))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: IO[str], lines: list[str]) -> None:
        with stream:
            lines.extend(iter(stream.readline, ""))

    def wait_for(self, shows: Callable[[Running], bool]) -> bool:
        """Whether the phase showed itself before the command ended."""
        end = time.monotonic() + PHASE_TIMEOUT_S
        while time.monotonic() < end:
            if shows(self):
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.02)
        return False

    def end(self) -> int:
        code = self.process.wait(COMMAND_TIMEOUT_S)
        for reader in self._readers:
            reader.join(5)
        return code

    @property
    def last_words(self) -> str:
        return self.said[-1].strip()[:200] if self.said else "it said nothing"


def says(word: str) -> Callable[[Running], bool]:
    """A phase that shows itself by a word in the command's messages."""
    return lambda running: any(word in line for line in running.said)


def predicts(running: Running) -> bool:
    """Some pictures are answered, most are not."""
    return len(running.answers) >= PICTURES // 20


class Return:
    """Notes when a killed process runs again.

    Args:
        find: The pid of the process that runs in its place now; 0 where there is none.
        killed: The pid that was killed.
    """

    def __init__(self, find: Callable[[], int], killed: int) -> None:
        self.after: float | None = None
        self._find = find
        self._killed = killed
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            if self._find() not in {0, self._killed}:
                self.after = time.monotonic() - self._began
                return

    def wait(self, seconds: float) -> float | None:
        """Seconds from the kill to the return; None where it does not come within so many more seconds."""
        self._thread.join(seconds)
        self._over.set()
        return self.after


class Line:
    """The shortened line on a stack of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.turn = 0
        self.client = Client(state_dir=self.home)
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

    def command(self, phase: str) -> tuple[list[str], Callable[[Running], bool]]:
        """The command of a phase, new in each turn so that nothing is there yet, and how the phase shows itself."""
        self.turn += 1
        name = f"turn{self.turn}"
        if phase == "upload":
            return self.yard("dataset", "import", self._fresh_set(name), "--name", name), says("uploading")
        if phase == "import":  # many pictures, so that it takes long enough to be hit
            return self.yard("dataset", "import", self.folder / "many", "--name", name), says("reading the archive")
        if phase == "train":
            return self.yard("train", "base", *self._training(name, epochs=4)), says("epoch 2/")
        if phase == "export":
            self.must("train", "base", *self._training(name))
            return self.yard("export", name, "--format", "onnx"), says("looking for the artifact")
        if phase == "deploy":
            return self.yard("deploy", "base", "--name", name), lambda _running: self._is_loading(name)
        return self.yard("predict", "base", *self.pictures), predicts

    def _is_loading(self, name: str) -> bool:
        try:
            return self.client.deployments.get(name).state == deployment_pb2.DEPLOYMENT_STATE_LOADING
        except ClientError:
            return False

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
            return next((p.pid for p in leftovers.find(state.stack_id()) if works(p)), 0)
        return next((int(p["pid"]) for p in state.processes() if p["name"] == process and p["state"] == "running"), 0)

    def case(self, process: str, phase: str) -> Outcome:
        """Kills ``process`` in ``phase`` and sees how it ends."""
        command, shows = self.command(phase)
        running = Running(command)
        if not running.wait_for(shows):
            running.end()
            return Outcome(process, phase, time.monotonic() - running.began, f"{_UNSEEN}: {running.last_words}")
        pid = wait(lambda: self.victim(process, running))
        second = time.monotonic() - running.began
        if not pid:
            return Outcome(process, phase, second, "there was nothing to kill")
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        comes_back = process not in {"client", "supervisor"}
        returned = Return(lambda: self.victim(process, running), pid) if comes_back else None
        code = running.end()
        told = "went on by itself"
        if process in {"client", "supervisor"}:
            if process == "supervisor":
                self.up()
            again = Running(command)
            code, told = again.end(), "went on when the command was given again"
            running = again
        took = time.monotonic() - killed
        if code:
            told = f"exit {code}: {running.last_words}"
        # A worker's job may have ended in its service's hands before another worker was needed.
        back = returned.wait(0 if process == "worker" else BACK_S) if returned else None
        if returned and ((back or 0) > BACK_S or (back is None and process != "worker")):
            told = f"{process} was not back within {BACK_S} s"
        self._settle()
        return Outcome(process, phase, second, told, took, back)

    def _settle(self) -> None:
        """Waits until the whole stack runs again, so that each case begins alike."""
        state = StateDir(self.home)
        if not wait(lambda: bool(state.processes()) and all(p["state"] == "running" for p in state.processes()), 60):
            raise SystemExit(f"not everything came back within 60 s: {state.processes()}")


def wait(find: Callable[[], Found], seconds: float = 20) -> Found:
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
    """This command's part of docs/reliability.md."""
    lines = [
        "# What survives `kill -9`",
        "",
        "Written by `make faults`: each process of the embedded stack was killed in each phase of a shortened line, while the phase was under way. *Second* is",
        f"when, after the command was given; *back* is how long after the kill the process ran again (at most {BACK_S} s is allowed); *took* is the time from the kill until",
        "the command had ended well. After the client or the supervisor was killed the same command was given again (after `yard up`, for the supervisor, which takes",
        "a minute, because the first command waits so long for its servers); everything else went on without a person.",
        "",
        "| process | phase | second | back | took | outcome |",
        "|---|---|---:|---:|---:|---|",
        *(
            f"| {row.process} | {row.phase} | {row.second:.1f} | {'-' if row.back is None else f'{row.back:.1f} s'} | {row.took:.1f} s | {row.told} |"
            for row in rows
        ),
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
                    f"{'OK  ' if row.well else 'FAIL'} {process:<11}{phase:<8}{row.second:6.1f} s {row.back or 0:6.1f} s {row.took:6.1f} s  {row.told}\n"
                )
                sys.stdout.flush()
        finally:
            line.client.close()
            subprocess.run(line.yard("down"), stdout=subprocess.DEVNULL, check=False)
    if not options.only:
        write_part("make faults", report(rows))
    return 0 if rows and all(row.well for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
