"""The names under which a version's images lie in its folders: the source's own, where they can be."""

from __future__ import annotations

import hashlib
import posixpath
from collections import Counter
from collections.abc import Sequence

_MAX_BYTES = 120
_SUFFIXES = {"jpg": ("jpg", "jpeg"), "png": ("png",)}


def unique_names(images: Sequence[tuple[str, str, str]]) -> list[str]:
    """A name for each image, unique in its split even without its extension and whatever the case (label files are named by the stem).

    An image keeps its file name where no other of its split wants the same one; else the folders above come before it, joined by ``-``;
    else a piece of its path's sha256 behind it. What a name is does not depend on the order of the images.

    Args:
        images: Path in the source, split, and real type (``jpg`` or ``png``) of each.

    Returns:
        The names, in the same order.
    """
    plain = [_safe(posixpath.basename(path), suffix) for path, _, suffix in images]
    long = [_safe(path.replace("/", "-"), suffix) for path, _, suffix in images]
    plain_counts = Counter(_key(split, name) for (_, split, _), name in zip(images, plain, strict=True))
    chosen = [
        name if plain_counts[_key(split, name)] == 1 else longer for (_, split, _), name, longer in zip(images, plain, long, strict=True)
    ]
    counts = Counter(_key(split, name) for (_, split, _), name in zip(images, chosen, strict=True))
    names = []
    for (path, split, _), name in zip(images, chosen, strict=True):
        if counts[_key(split, name)] > 1:
            stem, suffix = posixpath.splitext(name)
            names.append(f"{stem}-{hashlib.sha256(path.encode()).hexdigest()[:16]}{suffix}")
        else:
            names.append(name)
    return names


def _key(split: str, name: str) -> tuple[str, str]:
    return split, posixpath.splitext(name)[0].casefold()


def _safe(name: str, suffix: str) -> str:
    """A name that any file system takes, with the extension of what the file is."""
    stem, extension = posixpath.splitext(name)
    if extension[1:].lower() not in _SUFFIXES[suffix]:
        extension = f".{suffix}"
    stem = "".join(c if c.isprintable() and c not in '\\:*?"<>|' else "_" for c in stem).strip(" ")
    if not stem or stem.startswith("."):
        stem = f"_{stem}"  # Ultralytics' glob passes hidden files over
    if len(stem.encode()) > _MAX_BYTES:
        piece = hashlib.sha256(stem.encode()).hexdigest()[:16]
        stem = f"{stem.encode()[: _MAX_BYTES - 17].decode('utf-8', 'ignore')}-{piece}"
    return stem + extension
