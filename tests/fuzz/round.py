"""One parser's round: seeds written, fuzzed for so many seconds, what it found looked at again and made small, its coverage measured."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

from slot import Slot

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
_MEMORY = "/dev/shm"
"""Each input makes a scratch folder of its own; where the machine lends memory for them, they cost no disk."""
_NICE = ["nice", "-n", "10"]
_MINIMISE_SECONDS = 20
_INTERRUPTED = 72
"""libFuzzer's exit status where it was sent SIGINT or SIGTERM."""
_MAX_STARTS = 50
"""A parser whose every other input kills the process has found enough."""


@dataclass
class Round:
    """What became of a parser.

    Attributes:
        parser: Its name.
        seconds: How long it was fuzzed.
        executions: How many inputs were taken.
        reached: Lines and branches of its modules that the kept inputs reach.
        whole: How many there are.
        kept: How many inputs were kept for what they reach.
        finds: What is wrong, and the file that shows it.
    """

    parser: str
    seconds: float = 0.0
    executions: int = 0
    reached: int = 0
    whole: int = 0
    kept: int = 0
    finds: dict[str, Path] = field(default_factory=dict)

    @property
    def coverage(self) -> float:
        """In per cent."""
        return 100 * self.reached / self.whole if self.whole else 0.0


class Fuzzing:
    """Runs rounds in a folder.

    Args:
        folder: Where corpora and finds go, a folder each parser.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scratch = tempfile.mkdtemp(prefix="visionyard-fuzz-", dir=_MEMORY if Path(_MEMORY).is_dir() else None)
        self._over = threading.Event()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Ends what runs; rounds under way raise KeyboardInterrupt."""
        self._over.set()
        with self._lock:
            for process in self._running:
                process.kill()

    def close(self) -> None:
        """Removes what inputs left in the scratch folder when their process was killed."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def run(self, parser: str, seconds: float) -> Round:
        """A whole round.

        Raises:
            KeyboardInterrupt: it was stopped.
        """
        home, done = self._folder / parser, Round(parser)
        for name in ("corpus", "found"):
            shutil.rmtree(home / name, ignore_errors=True)
            (home / name).mkdir(parents=True)
        (home / "slot").unlink(missing_ok=True)
        slot = Slot(home / "slot")
        (home / "finds").mkdir(exist_ok=True)
        self._python("planting.py", parser, home / "corpus")
        for earlier in (home / "finds").iterdir():  # what was once wrong is tried first
            shutil.copy(earlier, home / "corpus" / hashlib.sha1(earlier.read_bytes()).hexdigest())
        for start in range(1, _MAX_STARTS + 1):
            left = round(seconds - done.seconds)
            if left < 1:
                break
            slot.restart()
            with (home / "log").open("ab") as log:
                code = self._wait([*_NICE, sys.executable, str(HERE / "child.py"), parser, str(home), str(left)], log)
            done.seconds += slot.seconds
            if not code:
                break
            if code != _INTERRUPTED:  # by whoever else ends processes on this machine; no input's doing
                (home / "found" / f"death-{start}").write_bytes(slot.data)
        done.executions = slot.executions
        done.kept = sum(1 for _ in (home / "corpus").iterdir())
        self._look(parser, home, done)
        self._measure(parser, home, done)
        return done

    def executions(self, parser: str) -> int:
        """How many inputs a round under way has taken."""
        path = self._folder / parser / "slot"
        return Slot(path).executions if path.exists() else 0

    def _look(self, parser: str, home: Path, done: Round) -> None:
        """Each find once more in a process of its own, and as small as it gets."""
        for file in sorted((home / "found").iterdir()):
            said = self._python("looking.py", parser, "minimise", file, _MINIMISE_SECONDS).strip()
            verdict = said or f"once-{file.name}"
            if verdict not in done.finds:
                target = home / "finds" / verdict
                shutil.copy(file, target)
                done.finds[verdict] = target

    def _measure(self, parser: str, home: Path, done: Round) -> None:
        said = json.loads(self._python("measuring.py", parser, home) or "{}")
        done.reached, done.whole = said.get("reached", 0), said.get("whole", 0)

    def _python(self, script: str, *words: object) -> str:
        with tempfile.TemporaryFile() as said:
            self._wait([*_NICE, sys.executable, str(HERE / script), *map(str, words)], subprocess.DEVNULL, said)
            said.seek(0)
            return said.read().decode()

    def _wait(self, command: list[str], log: object, said: object = None) -> int:
        """Runs a process to its end; its exit status."""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT / "services"), str(HERE))),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": self._scratch,
        }
        process = subprocess.Popen(command, stdout=said or log, stderr=log, env=environment, start_new_session=True)  # type: ignore[call-overload]
        with self._lock:
            self._running.add(process)
        try:
            if self._over.is_set():
                process.kill()
            code = process.wait()
        finally:
            with self._lock:
                self._running.discard(process)
        if self._over.is_set():
            raise KeyboardInterrupt
        return int(code)
