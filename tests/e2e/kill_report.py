"""The table of `make import-kills`: docs/import-kills.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kill_evidence import Expected

from visionyard.dataset.storage.kinds import Kind


@dataclass
class Row:
    """A round.

    Attributes:
        kind: What was killed in: an import of that format, or an append or a new split.
        process: Who was killed.
        drawn: When it was to be, in seconds after the command was given.
        second: When it was.
        phase: What the command was doing.
        outcome: How it ended; empty until it has.
        commands: How often the command was given until it exited 0.
        attempts: How many workers took its job up.
        took: Seconds from the kill until a command had exited 0.
        freed: What the collection freed, in bytes.
        problems: What is not as it must be.
    """

    kind: str
    process: str
    drawn: float
    second: float = 0
    phase: str = ""
    outcome: str = ""
    commands: int = 1
    attempts: int = 0
    took: float = 0
    freed: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """What was run.

    Attributes:
        seed: What drew the moments and processes.
        images: How many pictures an import has.
        machine: Where, and beside what other work.
        redrawn: How many moments fell behind the end of their command and were drawn again.
        undisturbed: What undisturbed runs came to, by kind of command.
    """

    seed: int
    images: int
    machine: str
    redrawn: int
    undisturbed: Mapping[str, Expected]


def report(rows: Sequence[Row], run: Run) -> str:
    """docs/import-kills.md."""
    size = run.undisturbed["yolo"].amounts[Kind.SHARDS].size
    undisturbed = ", ".join(f"{kind} {expected.seconds:.1f} s" for kind, expected in run.undisturbed.items())
    lines = [
        "# Imports survive `kill -9`",
        "",
        f"Written by `make import-kills` on {datetime.now(UTC):%Y-%m-%d}: {len(rows)} rounds, seed {run.seed}, on the embedded stack with a real SeaweedFS; {run.machine}. An import has {run.images} pictures of",
        f"640 x 480, {size / 1e6:.0f} MB; an append adds half as many to it; a split draws the splits of what was imported anew. Undisturbed they take: {undisturbed}, from the command to its end.",
        "",
        "In each round the command runs in a project of its own. *Second* is when `kill -9` came, drawn uniformly between submission and the end of the undisturbed run; *phase* is what was under",
        f"way then. A moment behind the end of a command that was faster this time was drawn again ({run.redrawn} times); where no worker lived at the moment, client or service was killed instead. Then the same",
        "command was given again until it exited 0 (*commands*), and where the first one went on by itself, once more. *Attempts* is how many workers took up the job; *took* is the time from the kill",
        "to exit 0; *freed* is what `yard storage collect --grace 0s` deleted then.",
        "",
        "A round is well if the digest is that of the undisturbed run; the dataset has exactly one new version; every image lies in exactly one place of one shard, undamaged, and the index knows it",
        "there; the bucket holds as many shards of the same size, manifests, reports, index segments and documents as after the undisturbed run, all of them explained by the versions; no upload, part",
        "of an unfinished write, pin, queue marker, pending file, scratch folder or process is left; and the collection finds nothing unknown, pinned or young.",
        "",
        "| # | command | second | phase | killed | outcome | commands | attempts | took | freed |",
        "|---:|---|---:|---|---|---|---:|---:|---:|---:|",
        *(
            f"| {number} | {row.kind} | {row.second:.2f} | {row.phase} | {row.process} | {row.outcome} | {row.commands} | {row.attempts} | {row.took:.1f} s | {row.freed} |"
            for number, row in enumerate(rows, 1)
        ),
        "",
    ]
    return "\n".join(lines)
