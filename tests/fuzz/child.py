"""Fuzzes one parser with atheris (libFuzzer): coverage tells which inputs are worth keeping. ``python child.py PARSER FOLDER SECONDS``.

Exceptions and counts that do not reconcile are written into ``FOLDER/found`` and fuzzing goes on; what ends the process is left in the slot for the parent.
"""

from __future__ import annotations

import functools
import os
import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["visionyard.dataset"]):
    from parsers import PARSERS, Parser

import bounds
import verdicts
from slot import Slot

_WALL_SECONDS = 120
"""libFuzzer's own limit for one input; the CPU time's limit comes first, unless an input waits."""
_BLIND_SHARE = 0.15


def main(name: str, folder: Path, seconds: int) -> None:
    """Never returns: libFuzzer ends the process."""
    parser, slot, found = PARSERS[name], Slot(folder / "slot"), folder / "found"
    dump = (folder / "stack").open("w")
    arguments = [
        sys.argv[0],
        str(folder / "corpus"),
        f"-max_total_time={max(1, seconds)}",
        f"-max_len={parser.max_bytes}",
        f"-timeout={_WALL_SECONDS}",
        f"-artifact_prefix={folder}/libfuzzer-",
        "-rss_limit_mb=0",
        "-verbosity=0",
    ]
    before = bounds.peak_bytes()

    def take(data: bytes) -> None:
        slot.begin(data)
        bounds.begin()
        try:
            parser.run(data)
        except Exception as error:  # noqa: BLE001 - whatever comes is a find
            _keep(found, verdicts.of_error(error), data)
        bounds.end()
        if bounds.peak_bytes() - before > bounds.MEMORY_BYTES:
            os._exit(1)

    atheris.Setup(arguments, take, custom_mutator=functools.partial(_mutate, parser))
    bounds.enter(dump)
    atheris.Fuzz()


def _mutate(parser: Parser, data: bytes, max_size: int, seed: int) -> bytes:
    chance = random.Random(seed)

    def blind(part: bytes) -> bytes:
        return bytes(atheris.Mutate(part, max(len(part) + 64, 64)))

    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        try:
            data = blind(data) if chance.random() < _BLIND_SHARE else parser.mutate(data, chance, blind)
        except RecursionError:  # the mutator's own, in a value that is nested deeper than Python goes
            data = blind(data)
    return data[:max_size]


def _keep(folder: Path, verdict: str, data: bytes) -> None:
    """Keeps the first input of each verdict."""
    path = folder / verdict
    if not path.exists():
        path.write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
