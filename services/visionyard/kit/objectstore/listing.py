"""Listings with folders in the order of their keys, whatever order the store walks in.

S3 orders keys by their UTF-8 bytes. SeaweedFS walks folders: it compares names without the slash, so ``cat/`` comes before ``cat-1/`` and
``cat.json`` although ``-`` and ``.`` are smaller than ``/``, and a ``start-after`` is compared that way too (tried with 4.48). What is done here
gives the order of S3 over both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from visionyard.kit.objectstore.port import Listing


def server_start(prefix: str, start_after: str) -> str:
    """A ``start-after`` that skips as much as possible and, in either order, nothing that is behind ``start_after``.

    In a walk by names a folder ``n/`` comes before ``n-1`` and ``n.json``; behind ``start_after`` by bytes it may still lie before it in the walk.
    That can only be a folder whose name is a beginning of the name in ``start_after``; so the walk is begun before the shortest of these.

    Args:
        prefix: The listing's prefix.
        start_after: What the caller gave; empty for the beginning.
    """
    if start_after <= prefix:
        return ""
    base = prefix.rfind("/") + 1
    name, slash, _ = start_after[base:].partition("/")
    # Where there is no such folder the walk begins at the name itself: behind its own folder, or before it if start_after is no key below it.
    end = next((i - 1 for i in range(1, len(name)) if name[i] < "/"), len(name) if slash else len(name) - 1)
    start = start_after[: base + end]
    return start if start > prefix else ""


def in_key_order(pages: Iterable[list[Listing]]) -> Iterator[Listing]:
    """The entries of a listing with delimiter ``/``, page by page as the store gave them, in the order of their keys' UTF-8 bytes.

    A folder is held back while names may still come that begin with its own and go on with a character below ``/``; little is ever held.
    """
    waiting: list[Listing] = []
    for page in pages:
        waiting = sorted([*waiting, *page], key=lambda entry: entry.key)
        farthest = max((entry.key.rstrip("/") for entry in waiting), default="")
        held = [entry for entry in waiting if entry.is_prefix and _may_be_preceded(entry.key[:-1], farthest)]
        yield from waiting[: len(waiting) - len(held)]
        waiting = waiting[len(waiting) - len(held) :]
    yield from waiting


def _may_be_preceded(folder: str, farthest: str) -> bool:
    rest = farthest[len(folder) : len(folder) + 1]
    return farthest.startswith(folder) and rest < "/"
