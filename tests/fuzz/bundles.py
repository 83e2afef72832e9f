"""Several files as one input: a line of a record separator (U+001E) and the path before each file's bytes. Any bytes are some files; finds can be read by eye."""

from __future__ import annotations

from collections.abc import Mapping

MARK = b"\x1e"
MAX_FILES = 48
_UNTOLD = "a.txt"


def bundle(files: Mapping[str, bytes | str]) -> bytes:
    """One input of many files."""
    return b"".join(
        MARK + path.encode("utf-8", "surrogateescape") + b"\n" + (content.encode() if isinstance(content, str) else content)
        for path, content in files.items()
    )


def unbundle(data: bytes) -> list[tuple[str, bytes]]:
    """The files of an input, in their order; a path may come twice, as in archives. Paths are ones that an archive may give: relative, without dots."""
    files = []
    for part in data.split(MARK)[:MAX_FILES]:
        head, _, content = part.partition(b"\n")
        names = head.decode("utf-8", "replace").replace("\0", "").split("/")
        path = "/".join(name for name in names if name not in {"", ".", ".."})[:1024]
        if path or content:
            files.append((path or _UNTOLD, content))
    return files
