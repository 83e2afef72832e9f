"""`make training-kills`: `kill -9` of worker, service, store and the whole stack at random moments of a training; writes docs/training-kills.md.

Each round trains a few epochs in a project of its own and kills at a moment that is drawn uniformly between its submission and the end of an undisturbed run. Nobody does anything
then, but after the whole stack was killed `yard up`. ``--seed`` draws the same moments and processes again. A few rounds more preempt (SIGTERM), and stop a worker for longer than its
lease (SIGSTOP) and wake it behind its takeover. The first round that is not well ends the run; its state directory stays.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))  # as pytest does for the tests

from faults import ROOT, YARD, wait, works
from training_kill_evidence import Row, TrainingEvidence, Watch, report

from visionyard.local import leftovers, sample

ROUNDS = 30
EPOCHS = 6
KILLED = ("worker", "training service", "store", "whole stack")
PREEMPTED, STOPPED = "worker (SIGTERM)", "worker (SIGSTOP for {} s)"
MORE = (PREEMPTED, PREEMPTED, STOPPED)
DATASET = "set"
STOP_S = 120
END_S = 600
SETTLE_S = 60
_PICTURES = 200


class Kills:
    """Rounds on a running stack.

    Args:
        home: Its state directory.
        folder: Where the dataset is made.
        rng: Draws who is killed and when.
        stop_s: How long a stopped worker is stopped, in seconds; longer than its lease.
        environment: The environment of every command, without the project.
    """

    def __init__(
        self, home: Path, folder: Path, rng: random.Random, stop_s: float = STOP_S, environment: Mapping[str, str] | None = None
    ) -> None:
        self.home = home
        self.evidence = TrainingEvidence(home)
        self.redrawn = 0
        self._folder = folder
        self._rng = rng
        self._stop_s = stop_s
        self._environment = dict(environment or {k: v for k, v in os.environ.items() if not k.startswith("VISIONYARD_")})
        self._rounds = 0
        self._undisturbed: float | None = None

    def prepare(self, pictures: int = _PICTURES) -> None:
        """The dataset that every project trains on: in the project that all can read."""
        sample.generate(self._folder / "set", pictures)
        self._must("shared", "dataset", "import", self._folder / "set", "--name", DATASET)

    @property
    def undisturbed(self) -> float:
        """Seconds from an undisturbed run's submission to its end; the second of two, since the first fetches the pictures."""
        if self._undisturbed is None:
            for project in ("undisturbed-1", "undisturbed-2"):
                watch = self._submit(project)
                watch.end(END_S)
                if problems := [*watch.problems, *self.evidence.run_problems(watch.job, EPOCHS)]:
                    raise SystemExit(f"an undisturbed run is not well: {'; '.join(problems)}")
                self._undisturbed = watch.seconds
        return self._undisturbed

    def round(self, process: str) -> Row:
        """Kills once, and sees how it ends. A moment at which the run had already ended, or no worker lived, is drawn again."""
        longest = self.undisturbed
        while True:
            self._rounds += 1
            watch = self._submit(f"round-{self._rounds}")
            row = Row(process.format(f"{self._stop_s:.0f}"), self._rng.uniform(0, longest))
            time.sleep(max(0.0, watch.began + row.drawn - time.monotonic()))
            row.phase, row.epoch = watch.phase, watch.epoch
            if not watch.ended and self._strike(process, row, watch):
                break
            watch.end(END_S)
            self.redrawn += 1
        if process == "whole stack":
            self._up()
        watch.end(END_S)
        row.took, row.attempts = watch.seconds - row.second, watch.attempts
        row.problems = (*row.problems, *watch.problems, *self._settle(watch.job.project), *self.evidence.run_problems(watch.job, EPOCHS))
        row.outcome = "; ".join(row.problems) or "SUCCEEDED"
        return row

    def _strike(self, process: str, row: Row, watch: Watch) -> bool:
        """Kills, preempts or stops; False where there is nobody."""
        living = leftovers.find(self.evidence.state.stack_id())
        servers = {str(p["name"]): int(p["pid"]) for p in self.evidence.state.processes() if p["state"] == "running"}
        workers = [p.pid for p in living if works(p)]
        match process:
            case "worker":
                pids = workers
            case "training service":
                pids = [servers["training"]] if "training" in servers else []
            case "store":
                pids = [servers["store"]] if "store" in servers else []
            case "whole stack":
                pids = [*([servers["supervisor"]] if "supervisor" in servers else []), *(p.pid for p in living)]
            case _:
                pids = workers
        row.second = time.monotonic() - watch.began
        number = {PREEMPTED: signal.SIGTERM, STOPPED: signal.SIGSTOP}.get(process, signal.SIGKILL)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if pids and process == STOPPED:
            row.problems = tuple(self._sleep_and_wake(pids, watch))
        return bool(pids)

    def _sleep_and_wake(self, pids: Sequence[int], watch: Watch) -> list[str]:
        """Lets a stopped worker sleep on; wakes it, where it was not ended by its service meanwhile."""
        attempt = watch.attempts
        time.sleep(self._stop_s)
        problems = [] if watch.attempts > attempt or watch.ended else ["nobody took the job over"]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return problems

    def _settle(self, project: str) -> list[str]:
        """Waits until services run again and what is transient is gone; says what is not."""
        wait(lambda: not list(self.evidence.unsettled(project)), SETTLE_S)
        return list(self.evidence.unsettled(project))

    def _submit(self, project: str) -> Watch:
        words = ("--model", "yolov8n.yaml", "--name", "m", "--epochs", EPOCHS, "--imgsz", 64, "--batch", 8, "--set", "plots=False")
        answer = self._must(project, "train", f"shared/{DATASET}", *words, "--detach")
        return Watch(self.home, self.evidence.state.stack_id(), answer["training_job"]["name"])

    def _up(self) -> None:
        """As its user would; what was killed is gone by then."""
        wait(lambda: not leftovers.find(self.evidence.state.stack_id()), 20)
        self._must("default", "up", "--detach", "--any-port", json_=False)
        self.evidence = TrainingEvidence(self.home)

    def _must(self, project: str, *words: object, json_: bool = True) -> dict[str, Any]:
        command = [str(YARD), *map(str, words), *(["--json"] if json_ else []), "--dir", str(self.home)]
        environment = {**self._environment, "VISIONYARD_PROJECT": project}
        done = subprocess.run(command, capture_output=True, text=True, timeout=END_S, check=False, env=environment)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} exited {done.returncode}: {done.stderr[-800:]}")
        return dict(json.loads(done.stdout)) if json_ else {}


def plan(rounds: int, rng: random.Random) -> list[str]:
    """Who is killed, each equally often."""
    processes = [KILLED[i % len(KILLED)] for i in range(rounds)]
    rng.shuffle(processes)
    return processes


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="draws who is killed and when; printed")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"fewer than {ROUNDS} write no document")
    options = parser.parse_args()
    _say(f"seed {options.seed}")
    rng = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="visionyard-training-kills-"))
    home, rows = folder / "home", []
    try:
        subprocess.run([YARD, "up", "--detach", "--any-port", "--dir", home], check=True, stdout=subprocess.DEVNULL)
        kills = Kills(home, folder, rng)
        kills.prepare()
        _say(f"undisturbed: {kills.undisturbed:.1f} s for {EPOCHS} epochs")
        for process in (*plan(options.rounds, rng), *(MORE if options.rounds >= ROUNDS else ())):
            row = kills.round(process)
            rows.append(row)
            _say(f"{'FAIL' if row.problems else 'OK  '} {len(rows):2} {row.line}")
            if row.problems:
                _say(f"the state directory stays: {home}")
                return 1
    finally:
        subprocess.run([YARD, "down", "--dir", home], stdout=subprocess.DEVNULL, check=False)
    if options.rounds >= ROUNDS:
        beside = f"{os.cpu_count()} cores, a load of {os.getloadavg()[2]:.0f}"
        text = report(rows, options.seed, EPOCHS, kills.undisturbed, kills.redrawn, beside)
        (ROOT / "docs" / "training-kills.md").write_text(text, encoding="utf-8")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
