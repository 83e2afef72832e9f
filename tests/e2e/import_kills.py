"""`make import-kills`: `kill -9` of client, service, worker and store at random moments of an import; writes docs/import-kills.md.

Each round gives a version-making command in a project of its own and kills at a moment that is drawn uniformly between its submission and the end of an undisturbed run. Then the
same command is given again until it exits 0, and what lies in the bucket and on the disk is held against what the undisturbed run left. ``--seed`` draws the same moments and processes
again. The first round that is not well ends the run; its state directory stays.
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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))  # as pytest does for the tests

import kill_sources
from faults import ROOT, YARD, Running, wait, works
from kill_evidence import Evidence, Expected
from kill_report import Row, Run, report

from visionyard.local import leftovers

ROUNDS = 30
PROCESSES = ("client", "dataset service", "worker", "worker with its children", "client, dataset service and worker", "store")
KINDS = ("yolo", "voc", "coco", "yolo", "append", "voc", "coco", "yolo", "split", "coco")
DATASET = "set"
COMMAND_TIMEOUT_S = 300
SETTLE_S = 120
_MOST_COMMANDS = 5
_IMAGES = 600
_LEAST_S = 8.0
_APPENDED_SHARE = 0.5


class Kills:
    """Rounds on a running stack.

    Args:
        home: Its state directory.
        folder: Where sources are made.
        images: How many pictures an import has.
        rng: Draws who is killed and when.
    """

    def __init__(self, home: Path, folder: Path, images: int, rng: random.Random) -> None:
        self.home = home
        self.images = images
        self.redrawn = 0
        self.evidence = Evidence(home)
        self._folder = folder
        self._rng = rng
        self._expected: dict[str, Expected] = {}
        self._projects = 0

    def make_sources(self) -> None:
        """One dataset as YOLO, and as VOC and COCO as the product itself writes them; and pictures to append."""
        project = f"sources-{self.images}"
        kill_sources.write(self._source("yolo"), self.images, seed=1)
        kill_sources.write(self._source("more"), max(10, int(self.images * _APPENDED_SHARE)), seed=2)
        self._must(project, "dataset", "import", self._source("yolo"), "--name", DATASET)
        for layout in ("voc", "coco"):
            self._must(project, "dataset", "download", DATASET, "--to", self._source(layout), "--format", layout)

    def make_long_sources(self, seconds: float) -> None:
        """Sources of so many pictures that an undisturbed import takes at least so long."""
        self.make_sources()
        while self.expected("yolo").seconds < seconds:
            self._expected.clear()
            self.images += self.images // 2
            self.make_sources()

    def _source(self, name: str) -> Path:
        return self._folder / str(self.images) / name

    def expected(self, kind: str) -> Expected:
        """What an undisturbed run comes to; made once for each kind."""
        if kind not in self._expected:
            project = f"undisturbed-{kind}-{self.images}"
            self._prepare(project, kind)
            began = time.monotonic()
            answer = self._must(project, *self._words(kind))
            seconds = time.monotonic() - began
            version = answer["import_job"]["dataset_version"]
            self._settle(project)
            freed = self._collect(project)["freed_bytes"]
            if int(freed):
                raise SystemExit(f"an undisturbed {kind} left {freed} bytes that nothing refers to")
            versions = int(version["name"].rpartition("/")[2])
            made = Expected(seconds, version["digest"], versions, self.evidence.inventory(project))
            if problems := list(self.evidence.problems(project, DATASET, made)):
                raise SystemExit(f"an undisturbed {kind} is not well: {'; '.join(problems)}")
            self._expected[kind] = made
        return self._expected[kind]

    def round(self, kind: str, process: str) -> Row:
        """Kills once, and sees how it ends. A moment at which the command had already ended is drawn again."""
        expected = self.expected(kind)
        while True:
            self._projects += 1
            project = f"round-{self._projects}"
            self._prepare(project, kind)
            row = Row(kind, process, self._rng.uniform(0, expected.seconds))
            before = {job.name for job in self.evidence.jobs(project)}
            running = self._run(project, kind)
            if self._kill(running, project, before, row):
                break
            running.end()
            self.redrawn += 1
        killed = time.monotonic()
        self._end_well(running, project, row, killed)
        ours = [job for job in self.evidence.jobs(project) if job.name not in before]
        row.attempts = max((job.attempt for job in ours), default=0)
        if not row.problems:
            self._look(project, expected, row)
        row.outcome = "; ".join(row.problems) or row.outcome
        return row

    def _kill(self, running: Running, project: str, before: set[Any], row: Row) -> bool:
        """Waits for the moment and kills; False where the command had ended."""
        time.sleep(max(0.0, running.began + row.drawn - time.monotonic()))
        row.phase = self.evidence.phase(project, before)
        pids = self._victims(row.process, running)
        if not pids:  # no worker lives before the job and behind its end: then it is the client's turn, or the service's
            row.process = self._rng.choice(("client", "dataset service"))
            pids = self._victims(row.process, running)
        if running.process.poll() is not None or not pids:
            return False
        row.second = time.monotonic() - running.began
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return True

    def _victims(self, process: str, running: Running) -> list[int]:
        living = leftovers.find(self.evidence.state.stack_id())
        workers = [p.pid for p in living if works(p)]
        servers = {str(p["name"]): int(p["pid"]) for p in self.evidence.state.processes() if p["state"] == "running"}
        match process:
            case "client":
                return [running.process.pid]
            case "dataset service":
                return [servers["dataset"]] if "dataset" in servers else []
            case "store":
                return [servers["store"]] if "store" in servers else []
            case "worker":
                return workers
            case "worker with its children":
                return [p.pid for p in living if _session(p.pid) in workers]
            case _:
                return [running.process.pid, *([servers["dataset"]] if "dataset" in servers else []), *workers]

    def _end_well(self, running: Running, project: str, row: Row, killed: float) -> None:
        """Gives the command again until it exits 0; and once more where the first one did, which must change nothing."""
        code = running.end()
        while code and row.commands < _MOST_COMMANDS:
            row.commands += 1
            running = self._run(project, row.kind)
            code = running.end()
        row.took = time.monotonic() - killed
        if code:
            row.problems = (f"exit {code}: {running.last_words}",)
            return
        first = _digest(running)
        row.outcome = "went on by itself; again: unchanged"
        if row.commands > 1:
            row.outcome = "the same version when given again"
            return
        running = self._run(project, row.kind)
        if running.end():
            row.problems = (f"the command once more exits {running.process.returncode}: {running.last_words}",)
        elif _digest(running) != first:
            row.problems = (f"the command once more gives {_digest(running)}, not {first}",)

    def _look(self, project: str, expected: Expected, row: Row) -> None:
        problems = list(self._settle(project))
        collected = self._collect(project)
        row.freed = int(collected["freed_bytes"])
        odd = {what: int(collected[what]["object_count"]) for what in ("unknown", "young", "pinned")}
        problems += [f"the collection calls {count} objects {what}" for what, count in odd.items() if count]
        row.problems = (*problems, *self.evidence.problems(project, DATASET, expected))

    def _settle(self, project: str) -> list[str]:
        """Waits until services run again and what is transient is gone; says what is not."""
        wait(lambda: not list(self.evidence.unsettled(project)), SETTLE_S)
        return list(self.evidence.unsettled(project))

    def _collect(self, project: str) -> dict[str, Any]:
        return dict(self._must(project, "storage", "collect", "--grace", "0s")["collection"])

    def _words(self, kind: str) -> Sequence[object]:
        match kind:
            case "append":
                return "dataset", "append", DATASET, self._source("more")
            case "split":
                return "dataset", "split", f"{DATASET}@1", "--ratios", "0.5,0.3,0.2", "--seed", 3
            case _:
                return "dataset", "import", self._source(kind), "--name", DATASET, "--format", kind

    def _prepare(self, project: str, kind: str) -> None:
        if kind in {"append", "split"}:
            self._must(project, "dataset", "import", self._source("yolo"), "--name", DATASET)

    def _run(self, project: str, kind: str) -> Running:
        return Running(self._command(*self._words(kind)), self._environment(project))

    def _command(self, *words: object) -> list[str]:
        return [str(YARD), *map(str, words), "--json", "--dir", str(self.home)]

    def _environment(self, project: str) -> dict[str, str]:
        return {**{k: v for k, v in os.environ.items() if not k.startswith("VISIONYARD_")}, "VISIONYARD_PROJECT": project}

    def _must(self, project: str, *words: object) -> dict[str, Any]:
        running = Running(self._command(*words), self._environment(project))
        if code := running.end():
            raise SystemExit(f"yard {' '.join(map(str, words))} in {project} exited {code}: {running.last_words}")
        return dict(json.loads("".join(running.answers)))


def _digest(running: Running) -> str:
    return str(json.loads("".join(running.answers))["import_job"]["dataset_version"]["digest"])


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def plan(rounds: int, rng: random.Random) -> list[tuple[str, str]]:
    """Each kind of command with its share, each process equally often, who with whom drawn by lot."""
    processes = [PROCESSES[i % len(PROCESSES)] for i in range(rounds)]
    rng.shuffle(processes)
    return [(KINDS[i % len(KINDS)], process) for i, process in enumerate(processes)]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="draws who is killed and when; printed")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"fewer than {ROUNDS} write no document")
    parser.add_argument("--images", type=int, default=_IMAGES, help="pictures of an import; more where it would be over in less than 8 s")
    parser.add_argument("--under", type=Path, help="where the run's folder is made; the usual place for temporary files unless given")
    options = parser.parse_args()
    _say(f"seed {options.seed}")
    rng = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="visionyard-import-kills-", dir=options.under))
    home = folder / "home"
    rows: list[Row] = []
    try:
        subprocess.run([YARD, "up", "--detach", "--any-port", "--dir", home], check=True, stdout=subprocess.DEVNULL)
        kills = Kills(home, folder, options.images, rng)
        kills.make_long_sources(_LEAST_S if options.rounds >= ROUNDS else 0)
        expected = {kind: kills.expected(kind) for kind in dict.fromkeys(KINDS)}
        _say("undisturbed: " + ", ".join(f"{kind} {made.seconds:.1f} s" for kind, made in expected.items()))
        for kind, process in plan(options.rounds, rng):
            row = kills.round(kind, process)
            rows.append(row)
            mark = "FAIL" if row.problems else "OK  "
            _say(
                f"{mark} {len(rows):2} {kind:<7}{row.second:6.2f} s  {row.phase:<38}{row.process:<36}{row.took:6.1f} s {row.freed:>9}  {row.outcome}"
            )
            if row.problems:
                _say(f"the state directory stays: {home}")
                return 1
    finally:
        subprocess.run([YARD, "down", "--dir", home], stdout=subprocess.DEVNULL, check=False)
    if options.rounds >= ROUNDS:
        machine = f"{os.cpu_count()} cores, a load of {os.getloadavg()[2]:.0f} with other work beside it"
        run = Run(options.seed, kills.images, machine, kills.redrawn, expected)
        (ROOT / "docs" / "import-kills.md").write_text(report(rows, run), encoding="utf-8")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
