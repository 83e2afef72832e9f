"""Which image of a source a labelling means by a name: tools write bare names, paths of other machines, URLs, or Label Studio's local-files queries."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from urllib.parse import parse_qs, unquote, urlsplit

from visionyard.dataset.images import IMAGE_SUFFIXES, UNREAD_SUFFIXES
from visionyard.dataset.source import SourceTree, stem_of, suffix_of

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")
"""Label Studio puts eight digits before the name of an uploaded file."""
_NOT_IN_UPLOADS = re.compile(r"[^-\w.]")
_MAX_NAME = 4096


def printable(name: str) -> str:
    """The same text with a question mark for each half of a character, which JSON can hold and no database or message can."""
    return name.encode("utf-8", "replace").decode("utf-8")


def written_path(name: str) -> str:
    """The path that a name means, with forward slashes: of a URL its path, of ``/data/local-files/?d=a/b.jpg`` what follows the ``d``."""
    name = printable(name).strip()[:_MAX_NAME]
    if _SCHEME.match(name) or "?d=" in name:
        try:
            parts = urlsplit(name)
        except ValueError:
            return name
        if asked := parse_qs(parts.query).get("d"):
            return asked[0].replace("\\", "/")
        return unquote(parts.path)
    return name.replace("\\", "/")


_MASKS = re.compile(r"(?:^|/)(?:masks?|scribbles|segmentation(?:class|object)[^/]*)(?:/|$)", re.IGNORECASE)
"""Folders in which labelling tools put pictures of labels."""


def holds_masks(folder: str) -> bool:
    """Whether a folder, or one above it, is for pictures of labels."""
    return _MASKS.search(folder) is not None


def folders_of(path: str) -> list[str]:
    """The folders that a written path names, without what climbs or stays."""
    return [name for name in path.split("/")[:-1] if name not in {"", ".", ".."}]


def name_of_upload(name: str) -> str:
    """What Label Studio, by Django's ``get_valid_filename``, makes of an uploaded file's name: ``photo_1.jpg`` of ``photo (1).jpg``."""
    return _NOT_IN_UPLOADS.sub("", name.strip().replace(" ", "_"))


def means_another(name: str, other: str, image: str) -> bool:
    """Of two names that lead to one image, whether the first means another: it names a folder that is not the image's, and the second agrees in more of them.

    Such a picture is missing from the source, and its labels must not be put on the one of that file name which is there.

    Args:
        name: As written.
        other: Likewise.
        image: The image's path.
    """
    path, nearer = (posixpath.normpath(written_path(text)) for text in (name, other))
    return agreement(path, image) < min(len(folders_of(path)), agreement(nearer, image))


class ImageMatcher:
    """Finds the images of one source.

    Args:
        tree: The source.
    """

    def __init__(self, tree: SourceTree) -> None:
        self._tree = tree
        self._renamed = False

    def find(self, name: str, near: str = "") -> str | None:
        r"""The image that a labelling names; None where there is none, or several fit alike.

        Of the images with that file name (whatever its case; else with that stem, for what was converted to another type) the one whose folders agree with most of the
        written ones counts, then the one nearest to the labelling.

        Args:
            name: As written: ``a.jpg``, ``images\train\a.jpg``, ``https://host/a%20b.jpg``, ``/data/upload/3/0123abcd-a.jpg``.
            near: The file that names it, whose folder breaks ties.
        """
        path = posixpath.normpath(written_path(name)).lstrip("/")
        if not posixpath.basename(path) or path == ".":
            return None
        direct = posixpath.normpath(posixpath.join(posixpath.dirname(near), path))
        if self._tree.is_image(direct):
            return direct
        for spelling in (path, unquote(path), _UPLOAD_PREFIX.sub("", posixpath.basename(path))):
            if found := self._closest(spelling, near):
                return found
        return self._before_upload(spelling, near) if spelling != posixpath.basename(path) else None

    def _before_upload(self, name: str, near: str) -> str | None:
        """The image that was uploaded to Label Studio and got this name there, less the digits; None where none, or several, would."""
        staging = self._tree.staging
        if not self._renamed:
            staging.run("CREATE TABLE IF NOT EXISTS renamed (name TEXT, path TEXT, PRIMARY KEY (name, path)) WITHOUT ROWID")
            for image in self._tree.images():
                self._tree.check()
                original = posixpath.basename(image)
                if (renamed := name_of_upload(original)) != original:
                    staging.run("INSERT OR IGNORE INTO renamed VALUES (?, ?)", (renamed.lower(), image))
            self._renamed = True
        found = [image for (image,) in staging.query("SELECT path FROM renamed WHERE name = ? LIMIT 1000", (name.lower(),))]
        return nearest(near, found) if found else None

    def _closest(self, path: str, near: str) -> str | None:
        *folders, name = path.lower().split("/")
        suffix = suffix_of(name)
        spellings: list[tuple[str, str]] = [(stem_of(name), name)]
        if suffix:
            # A stem may hold a dot: "a.b" names "a.b.jpg" where "b" is no type.
            spellings.append((name, ""))
        if not suffix or suffix.isalpha() or suffix in IMAGE_SUFFIXES | UNREAD_SUFFIXES:
            # Converted to another type since; "a.2" was never of a type 2.
            spellings.append((stem_of(name), ""))
        for stem, whole in spellings:
            for candidates in self._tree.images_near(folders, stem):
                fitting = [image for image in candidates if not whole or posixpath.basename(image).lower() == whole]
                if fitting:
                    return nearest(near, fitting)
        return None


def nearest(near: str, images: Sequence[str]) -> str | None:
    """The image that shares most leading folders with a path; None where several fit alike."""
    ranked = sorted((kinship(near, image), image) for image in images)
    return None if len(ranked) > 1 and ranked[-1][0] == ranked[-2][0] else ranked[-1][1]


def agreement(one: str, other: str) -> int:
    """How many folders, counted from the file upwards, two paths share, whatever the case."""
    count = 0
    for a, b in zip(reversed(one.lower().split("/")[:-1]), reversed(other.lower().split("/")[:-1]), strict=False):
        if a != b:
            break
        count += 1
    return count


def kinship(one: str, other: str) -> int:
    """How many leading folders two paths share."""
    count = 0
    for a, b in zip(one.split("/")[:-1], other.split("/")[:-1], strict=False):
        if a != b:
            break
        count += 1
    return count
