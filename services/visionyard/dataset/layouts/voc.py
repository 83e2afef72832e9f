"""Pascal VOC: ``Annotations/{stem}.xml``, ``JPEGImages/{name}``, ``ImageSets/Main/{split}.txt``, and ``labelmap.txt``.

The format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html. Coordinates are written as they are, with their fractions and without the devkit's offset of one,
as they are read. VOC has no list of classes: ``labelmap.txt``, as CVAT writes it, keeps their order and those that no label is of. All splits share one folder, so where two have
an image of one name, that of the later split gets its split's name too. VOC cannot tell a predicted label from a person's.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator
from xml.sax.saxutils import escape

from visionyard.dataset.formats.voc_labelmap import LABELMAP, labelmap_text
from visionyard.dataset.layouts.layout import Layout, OutFile, Rows
from visionyard.dataset.names import stem_key
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.manifest import Label, ManifestRow
from visionyard.kit.errors import Reason, YardError

_DIGITS = 6
"""A millionth of a pixel."""


class VocLayout(Layout):
    """The list of classes and those of the splits, then annotation and image of each row."""

    name = "voc"

    def files(self, version: DatasetVersion, rows: Rows) -> Iterator[OutFile]:
        """See :meth:`Layout.files`."""
        if version.task != "detect":
            raise YardError(
                Reason.UNSUPPORTED_TASK,
                f"{version.name} is for the task {version.task}, and Pascal VOC's files hold upright boxes only: download it as yolo or coco",
                {"task": version.task},
            )
        names = _Names(rows)
        classes = version.class_names
        yield OutFile.of_text(LABELMAP, labelmap_text(classes))
        for split in version.splits:
            yield OutFile.of_pieces(f"ImageSets/Main/{split.name}.txt", _SetList(rows, names, split.name).pieces)
        for row in rows():
            name = names.of(row)
            yield OutFile.of_text(f"Annotations/{posixpath.splitext(name)[0]}.xml", _annotation(row, name, classes))
            yield OutFile.of_image(f"JPEGImages/{name}", row)


class _SetList:
    """The list of one split's images, without extensions."""

    def __init__(self, rows: Rows, names: _Names, split: str) -> None:
        self._rows = rows
        self._names = names
        self._split = split

    def pieces(self) -> Iterator[bytes]:
        return (f"{posixpath.splitext(self._names.of(row))[0]}\n".encode() for row in self._rows() if row.split == self._split)


class _Names:
    """Names that are unique in the whole version, not in their split only, also without extension and whatever the case.

    Of each name eight bytes are kept, so that a hundred thousand take few megabytes; were two alike by chance, one would get a longer name.
    """

    def __init__(self, rows: Rows) -> None:
        self._first: dict[bytes, str] = {}
        for row in rows():
            self._first.setdefault(_mark(stem_key(row.name)), row.split)

    def of(self, row: ManifestRow) -> str:
        """The name of a row's image."""
        if self._first[_mark(stem_key(row.name))] == row.split:
            return row.name
        stem, suffix = posixpath.splitext(row.name)
        name = f"{stem}-{row.split}{suffix}"
        if _mark(stem_key(name)) in self._first:
            name = f"{stem}-{row.split}-{hashlib.sha256(row.name.encode()).hexdigest()[:16]}{suffix}"
        return name


def _mark(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=8).digest()


def _annotation(row: ManifestRow, name: str, classes: tuple[str, ...]) -> str:
    lines = [
        "<annotation>",
        "  <folder>JPEGImages</folder>",
        f"  <filename>{escape(name)}</filename>",
        f"  <size><width>{row.width}</width><height>{row.height}</height><depth>3</depth></size>",
        "  <segmented>0</segmented>",
        *(_object(label, row, classes[label.class_id]) for label in row.labels),
        "</annotation>",
    ]
    return "\n".join(lines) + "\n"


def _object(label: Label, row: ManifestRow, name: str) -> str:
    corners = {
        "xmin": (label.cx - label.w / 2) * row.width,
        "ymin": (label.cy - label.h / 2) * row.height,
        "xmax": (label.cx + label.w / 2) * row.width,
        "ymax": (label.cy + label.h / 2) * row.height,
    }
    box = "".join(f"<{corner}>{round(value, _DIGITS)!r}</{corner}>" for corner, value in corners.items())
    marks = "<pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
    return f"  <object><name>{escape(name)}</name>{marks}<bndbox>{box}</bndbox></object>"
