"""What `make fuzz` writes down: each parser's last round in its folder, and docs/reliability.md from the last rounds of all, so that a run may be spread over several commands."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import bounds
from round import ROOT, Round

_FILE = "round.json"


@dataclass(frozen=True)
class Told:
    """A round that ended, as it is kept.

    Attributes:
        parser: Its name.
        seconds: How long it was fuzzed.
        at_once: How many parsers were fuzzed at once.
        executions: How many inputs were taken.
        coverage: Lines and branches of its modules that the kept inputs reach, in per cent.
        whole: How many there are.
        finds: What was found.
        commit: The code that was fuzzed, with a plus where it had changes that were not committed.
        date: When it ended, ISO 8601.
    """

    parser: str
    seconds: float
    at_once: int
    executions: int
    coverage: float
    whole: int
    finds: tuple[str, ...]
    commit: str
    date: str


def keep(folder: Path, done: Round, at_once: int) -> None:
    """Writes down a round that ended; it replaces the parser's earlier one."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    told = Told(done.parser, done.seconds, at_once, done.executions, done.coverage, done.whole, tuple(done.finds), _commit(), today)
    (folder / done.parser / _FILE).write_text(json.dumps(asdict(told)), encoding="utf-8")


def kept(folder: Path, parsers: Iterable[str]) -> list[Told]:
    """The last rounds, in the order of the parsers; those that have none are not among them."""
    files = (folder / parser / _FILE for parser in parsers)
    documents = (json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists())
    return [Told(**{**document, "finds": tuple(document["finds"])}) for document in documents]


def report(rounds: Sequence[Told]) -> str:
    """The part of docs/reliability.md that is `make fuzz`'s own."""
    total = sum(told.executions for told in rounds)
    dates = sorted({told.date for told in rounds})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    at_once = sorted({told.at_once for told in rounds})
    return "\n".join(
        [
            "# What parsers make of hostile input",
            "",
            f"Written by `make fuzz`, {when}: each parser of what strangers give the dataset service was fuzzed for at least {min(told.seconds for told in rounds):.0f} s by atheris, led by coverage,",
            f"{' or '.join(map(str, at_once))} at once on {os.cpu_count()} cores ({platform.machine()}, Python {platform.python_version()}), from generated seeds and small real files. A find is an exception that is no refusal, a crash,",
            f"more than {bounds.CPU_SECONDS:.0f} s of CPU or 1 GiB of memory for one input, or counts that do not reconcile. *Coverage* is of the lines and branches of the parser's own modules that the",
            "inputs kept reach. Formats are read through a whole source: all rows of all images, of those left out, of orphans. The row is a parser's last round, *commit* the code that was fuzzed",
            f"(+: with changes). In all {total:,} executions.",
            "",
            "| parser | seconds | executions | coverage | of lines and branches | finds | commit |",
            "|---|---:|---:|---:|---:|---|---|",
            *(
                f"| {told.parser} | {told.seconds:.0f} | {told.executions:,} | {told.coverage:.1f} % | {told.whole} | {', '.join(told.finds) or 'none'} | {told.commit} |"
                for told in rounds
            ),
            "",
        ]
    )


def _commit() -> str:
    """Of the checkout; empty where it is none."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=ROOT, capture_output=True, text=True, check=False
    )  # without git's metadata, as in an unpacked archive, it fails
    return said.stdout.strip()
