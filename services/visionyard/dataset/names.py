"""The names under which a version's images lie in its folders: the source's own, where they can be."""

from __future__ import annotations

import hashlib
import posixpath

_MAX_BYTES = 120
_SUFFIXES = {"jpg": ("jpg", "jpeg"), "png": ("png",)}


def plain_name(path: str, suffix: str) -> str:
    """The file name of a source's image in a form that any file system takes, with the extension of what it is (``jpg`` or ``png``)."""
    return _safe(posixpath.basename(path), suffix)


def long_name(path: str, suffix: str, name: str) -> str:  # noqa: ARG001 - as marked_name
    """The same with the folders above before it, joined by ``-``."""
    return _safe(path.replace("/", "-"), suffix)


def marked_name(path: str, suffix: str, name: str) -> str:  # noqa: ARG001 - as long_name
    """``name`` with a piece of its path's sha256 behind it."""
    stem, extension = posixpath.splitext(name)
    return f"{stem}-{hashlib.sha256(path.encode()).hexdigest()[:16]}{extension}"


def stem_key(name: str) -> str:
    """What must differ between two images of a split: the name without extension, whatever the case."""
    return posixpath.splitext(name)[0].casefold()


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
