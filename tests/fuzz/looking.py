"""Looks at inputs one by one: ``python looking.py PARSER judge|minimise FILE [SECONDS]`` prints the verdict of a file, after making it as small as it gets, or ``show`` with its stack.

It never reads an input itself before it forked: what an input leaves behind must not change the verdict on another.
"""

from __future__ import annotations

import sys
from pathlib import Path

import bounds
from judging import judge, minimise, show
from parsers import PARSERS


def main(name: str, how: str, file: Path, seconds: float = 0.0) -> int:
    """Exits with 1 where something is wrong."""
    bounds.one_thread()
    run, data = PARSERS[name].run, file.read_bytes()
    if how == "show":
        verdict = show(run, data)
    else:
        verdict = judge(run, data)
        if verdict and how == "minimise":
            file.write_bytes(minimise(run, data, verdict, seconds))
    sys.stdout.write(f"{verdict}\n")
    return 1 if verdict else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *map(float, sys.argv[4:])))
