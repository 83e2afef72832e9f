"""How much of a parser's own modules its inputs reach: all that were kept as worth keeping are read once more, under coverage.py. ``python measuring.py PARSER FOLDER``.

Prints a JSON document: lines and branches together, as coverage.py counts them, reached and in all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import coverage

SERVICES = Path(__file__).resolve().parents[2] / "services" / "visionyard"


def main(name: str, folder: Path) -> None:
    """Measures and prints."""
    measured = coverage.Coverage(data_file=None, branch=True, config_file=False, include=[f"{SERVICES}/**"])
    measured.start()
    from parsers import PARSERS

    parser = PARSERS[name]
    for path in sorted((folder / "corpus").iterdir()):
        try:
            parser.run(path.read_bytes())
        except Exception:  # noqa: BLE001 - a find is told elsewhere
            continue
    measured.stop()
    reached = whole = 0
    for path in sorted({path for pattern in parser.modules for path in SERVICES.glob(pattern)}):
        numbers = measured._analyze(str(path)).numbers
        reached += numbers.n_executed + numbers.n_executed_branches
        whole += numbers.n_statements + numbers.n_branches
    sys.stdout.write(json.dumps({"reached": reached, "whole": whole}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
