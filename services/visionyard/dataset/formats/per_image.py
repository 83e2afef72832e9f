"""Labellings with a file an image, each naming its image within (LabelMe's two formats): which image each file means, and which images belong to the set."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.labelled import LabelledSource, split_of_path
from visionyard.dataset.formats.matching import ImageMatcher, agreement, kinship, written_path
from visionyard.dataset.formats.staged import SourceImage
from visionyard.dataset.source import SourceTree, stem_of

_MAX_NAME = 4096
_SHOWN = 100
_NO_PICTURES = frozenset({"masks", "scribbles", "segmentationclass", "segmentationobject"})
"""Folders in which labelling tools put pictures of labels."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A label file.

    Attributes:
        path: Its path.
        image: The image's name as written in it; empty where there is none.
        labelled: Whether it holds labels.
        damaged: Whether it cannot be read: nobody knows what it holds.
    """

    path: str
    image: str
    labelled: bool
    damaged: bool = False


def take_files(tree: SourceTree, source: LabelledSource, files: Iterable[ImageFile]) -> int:
    """Tells a source of its images and orphans; returns how many label files there are.

    The image that a file names counts, else that of its own name. Images in the same folders that no file belongs to are background: LabelMe saves no file without shapes.

    Args:
        tree: The source.
        source: Gets images, orphans and IMAGE_NAMED_TWICE notes.
        files: The label files, in a fixed order; of several for one image one that can be read counts, of those the nearest, of those the first.
    """
    staging, matcher, count = tree.staging, ImageMatcher(tree), 0
    staging.run("DROP TABLE IF EXISTS per_image")
    staging.run("CREATE TABLE per_image (image TEXT PRIMARY KEY, path TEXT, labelled INT) WITHOUT ROWID")
    staging.run("DROP TABLE IF EXISTS per_image_claims")
    staging.run(
        "CREATE TABLE per_image_claims (image TEXT, name TEXT, path TEXT, labelled INT, damaged INT, just_so INT, agreement INT, kinship INT)"
    )
    for file in files:
        tree.check()
        count += 1
        name = file.image[:_MAX_NAME]
        image = (matcher.find(name, file.path) if name else None) or matcher.find(stem_of(file.path), file.path)
        if image is None or is_no_picture(image):
            source.orphans.append(SourceImage(name or posixpath.basename(file.path), labels=file.path))
            continue
        written = posixpath.normpath(posixpath.join(posixpath.dirname(file.path), written_path(name)))
        known = file.path, file.labelled or file.damaged, file.damaged
        near = written == image, agreement(file.path, image), kinship(file.path, image)
        staging.run("INSERT INTO per_image_claims VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (image, name, *known, *near))
    staging.run(
        "INSERT OR IGNORE INTO per_image SELECT image, path, labelled FROM per_image_claims "
        "ORDER BY damaged, just_so DESC, agreement DESC, kinship DESC, rowid"
    )
    for path, name, image, nearer in staging.query(
        "SELECT c.path, c.name, c.image, p.path FROM per_image_claims c JOIN per_image p ON p.image = c.image WHERE c.path != p.path ORDER BY c.rowid"
    ):
        says = f"names {name[:_SHOWN]!r}" if name else f"is called as {image} is"
        message = f"{path} {says}, which {nearer} labels already; only the labels of that file were taken"
        source.notes.add(Code.IMAGE_NAMED_TWICE, message, path)
        source.orphans.append(SourceImage(name or posixpath.basename(image), labels=path))
    folders = "SELECT DISTINCT f.folder FROM per_image p JOIN files f ON f.path = p.image"
    for image, path, labelled in staging.query(
        f"SELECT files.path, p.path, p.labelled FROM files LEFT JOIN per_image p ON p.image = files.path "  # noqa: S608 - both parts are written here
        f"WHERE files.image AND folder IN ({folders}) ORDER BY files.path"
    ):
        tree.check()
        if not is_no_picture(image):
            source.images.append(SourceImage(image, split_of_path(image, ""), path if labelled else "", stated=path or ""))
    return count


def is_no_picture(image: str) -> bool:
    """Whether a path lies in a folder for pictures of labels."""
    return any(folder.lower() in _NO_PICTURES for folder in image.split("/")[:-1])
