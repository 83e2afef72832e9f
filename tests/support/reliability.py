"""docs/reliability.md, which several drivers write: each a part of its own, between markers that name it, and nobody else's."""

from __future__ import annotations

import re
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


def with_part(document: str, name: str, text: str) -> str:
    """The document with the part of that name replaced, or put behind the others where it has none yet."""
    begin, end = f"<!-- {name} begins -->", f"<!-- {name} ends -->"
    part = f"{begin}\n{text.strip()}\n{end}"
    pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
    if pattern.search(document):
        return pattern.sub(lambda _: part, document, count=1)
    return f"{document.rstrip()}\n\n{part}\n".lstrip()


def write_part(name: str, text: str) -> None:
    """Writes a part of docs/reliability.md.

    Args:
        name: What makes it: ``make faults``, ``make fuzz``.
        text: Markdown, without the markers.
    """
    before = PATH.read_text(encoding="utf-8") if PATH.exists() else ""
    PATH.write_text(with_part(before, name, text), encoding="utf-8")
