"""Writes a parser's seeds into a folder, a file each: ``python planting.py PARSER FOLDER``."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from parsers import PARSERS


def main(name: str, folder: Path) -> None:
    """Writes those that are not longer than the parser's inputs may be."""
    parser = PARSERS[name]
    for data in parser.seeds():
        if len(data) <= parser.max_bytes:
            (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
