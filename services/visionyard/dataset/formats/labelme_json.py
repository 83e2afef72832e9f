"""Reads labelme's JSON: a file an image, beside it or elsewhere, with the picture in it or not.

Where no file of a source has a shape, the pictures' flags are classes of whole pictures, as in labelme's own example of classification; where there are shapes, flags
remark on pictures (``blurred``) and are passed over. Classes stand in the order of a ``labels.txt`` as labelme's converters want it (its first line is ``__ignore__``) where
there is one, of flags in the files' order, else in alphabetical order.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from visionyard.dataset.findings import MAX_LISTED, Code
from visionyard.dataset.formats.classes import NamedClasses
from visionyard.dataset.formats.labelled import MAX_CLASSES, LabelledSource, UnreadLabels
from visionyard.dataset.formats.labelling import Labelling
from visionyard.dataset.formats.labelme_shapes import IGNORED, DamagedLabelme, LabelmeFile, NotLabelme, ShapeReader, parse_labelme
from visionyard.dataset.formats.per_image import ImageFile, take_files
from visionyard.dataset.formats.shapes import LabelRow, Shape, WrittenLabel
from visionyard.dataset.formats.xml_reader import ByteReader
from visionyard.dataset.source import SourceTree, decode_text, stem_of

_PICTURE = re.compile(rb'"imageData"\s{0,40}:\s{0,40}"')
_LONGEST_KEY = 100
_SHAPES = re.compile(rb'"shapes"\s*:\s*\[')
_CHUNK_BYTES = 256 << 10
_HEAD_BYTES = 64 << 10
_MAX_BYTES = 8 << 20
"""Of a label file without its picture: Python takes about 24 times as much for the worst of them."""
_FIRST_LABEL = "__ignore__"


def _without_picture(stream: ByteReader, limit: int) -> tuple[bytes, bool]:
    """A label file's bytes, cut off above a limit, without the text of ``imageData``, which may be as large as a picture; and whether there was such a text."""
    kept, buffer, inside, embedded = bytearray(), b"", False, False
    while len(kept) <= limit and (chunk := stream.read(_CHUNK_BYTES)):
        buffer, at = buffer + chunk, 0
        while True:
            if inside:
                end = buffer.find(b'"', at)
                embedded = embedded or end != at
                if end < 0:
                    buffer = b""
                    break
                at, inside = end, False
            picture = _PICTURE.search(buffer, at)
            if picture is None:
                split = max(at, len(buffer) - _LONGEST_KEY)
                kept += buffer[at:split]
                buffer = buffer[split:]
                break
            kept += buffer[at : picture.end()]
            at, inside = picture.end(), True
    return bytes(kept + buffer), embedded


def _read(tree: SourceTree, path: str) -> LabelmeFile:
    """Reads a label file; raises NotLabelme."""
    with tree.open(path) as stream:
        data, embedded = _without_picture(stream, _MAX_BYTES)
    if len(data) > _MAX_BYTES:
        raise DamagedLabelme(f"it has more than {_MAX_BYTES} bytes beside its picture")
    return parse_labelme(data, embedded=embedded)


def find_labelme(tree: SourceTree) -> list[Labelling]:
    """The labelme labelling of a source, told by the first JSON file with a list of ``shapes`` and the name of an image."""
    for path in tree.each_text("json"):
        tree.check()
        if _begins_with_shapes(tree, path):
            try:
                _read(tree, path)
            except NotLabelme:
                continue
            return [Labelling("labelme", posixpath.dirname(path) or path, lambda: read_labelme(tree))]
    return []


def _begins_with_shapes(tree: SourceTree, path: str) -> bool:
    with tree.open(path) as stream:
        head, _ = _without_picture(stream, _HEAD_BYTES)
    return _SHAPES.search(head.replace(b"\0", b"")) is not None  # UTF-16 has them between the characters


class LabelmeSource(LabelledSource):
    """A labelme source. Build it with :func:`read_labelme`.

    Args:
        tree: The source.
        declared: The classes that it declares.
        by_flags: Whether flags are classes.
    """

    format = "labelme"
    file_each = True

    def __init__(self, tree: SourceTree, declared: list[str], *, by_flags: bool) -> None:
        super().__init__(tree.staging)
        self.task = "classify" if by_flags else ""
        self._tree = tree
        self._classes = NamedClasses(declared)
        self._by_flags = by_flags
        self._shapes = ShapeReader()

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:
        """See :meth:`LabelledSource.rows`."""
        try:
            file = _read(self._tree, labels)
        except NotLabelme as error:
            raise UnreadLabels(error) from error
        size = self.size_of_labels(f"{labels} was written for", labels, file.size, (width, height))
        written = self._flags(file.flags) if self._by_flags else self._shapes.labels(file.shapes, self._classes.id_of)
        for label in written:
            self._tree.check()
            yield label.row(*size)

    def _flags(self, flags: dict[str, bool]) -> Iterator[WrittenLabel]:
        """The flags that are set, as classes of the whole picture."""
        for name in (name for name, is_set in flags.items() if is_set):
            class_id = None if name in IGNORED else self._classes.id_of(name)
            if class_id is not None:
                yield WrittenLabel(class_id=class_id, shape=Shape.IMAGE)
            elif name in IGNORED:
                yield WrittenLabel(problem=Code.IGNORED_REGION, message=f"has the flag {name}, which labelme takes for no class")
            else:
                yield WrittenLabel(
                    problem=Code.UNKNOWN_CLASS, message=f"has yet another flag; no more than {MAX_CLASSES} are read as classes"
                )

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`LabelledSource.class_names`."""
        return self._classes.names()

    def final_class_ids(self) -> list[int]:
        """See :meth:`LabelledSource.final_class_ids`."""
        return self._classes.final_ids()


def read_labelme(tree: SourceTree) -> LabelmeSource:
    """Reads a labelme source's structure.

    Args:
        tree: The source.
    """
    staging = tree.staging
    staging.run("DROP TABLE IF EXISTS labelme")
    staging.run("CREATE TABLE labelme (path TEXT PRIMARY KEY, image TEXT, shapes INT, flags INT, embedded INT) WITHOUT ROWID")
    flags, unread = dict[str, None](), dict[str, str]()
    for path in tree.each_text("json"):
        tree.check()
        try:
            file = _read(tree, path)
        except DamagedLabelme as error:
            if tree.images_called(stem_of(path)):  # it is the image's all the same
                staging.run("INSERT INTO labelme VALUES (?, '', NULL, NULL, 0)", (path,))
            elif len(unread) <= MAX_LISTED and _begins_with_shapes(tree, path):
                unread[path] = f"{path} cannot be read: {error}; which image it belongs to is not known"
            continue
        except NotLabelme as error:
            if tree.images_called(stem_of(path)) and len(unread) <= MAX_LISTED:
                unread[path] = f"{path} is no label file of labelme's: {error}"
            continue
        row = path, file.image, len(file.shapes), sum(file.flags.values()), file.embedded
        staging.run("INSERT INTO labelme VALUES (?, ?, ?, ?, ?)", row)
        flags.update(dict.fromkeys([name for name in file.flags if name not in IGNORED][: MAX_CLASSES - len(flags)]))
    shapes, flagged = staging.one("SELECT SUM(shapes), SUM(flags) FROM labelme") or (0, 0)
    by_flags = bool(flagged and not shapes)
    source = LabelmeSource(tree, list(flags) if by_flags else _declared(tree), by_flags=by_flags)
    for path, message in unread.items():
        source.notes.add(Code.MALFORMED_ANNOTATION, message, path)
    written = staging.query("SELECT path, image, flags, shapes FROM labelme ORDER BY path")
    count = take_files(
        tree,
        source,
        (ImageFile(path, image, bool(flags if by_flags else shapes), damaged=shapes is None) for path, image, flags, shapes in written),
    )
    for orphan in source.orphans:
        if staging.one("SELECT 1 FROM labelme WHERE path = ? AND embedded", (orphan.labels,)):
            message = f"{orphan.labels} holds its picture {orphan.path[:_LONGEST_KEY]!r} only within itself"
            source.notes.add(Code.IMAGE_EMBEDDED, message, orphan.labels)
    what = "flags" if by_flags else "shapes"
    source.reason = f"{count} JSON files are labelme's, and {source.images.labelled()} of {len(source.images)} images have {what} in one"
    return source


def _declared(tree: SourceTree) -> list[str]:
    """The classes of the lists that labelme's converters take (``--labels labels.txt``), in their order."""
    names: dict[str, None] = {}
    for path in tree.texts_called("labels", "txt"):
        lines = [line.strip() for line in decode_text(tree.read(path)).splitlines()]
        if lines and lines[0] == _FIRST_LABEL:
            names.update(dict.fromkeys([line for line in lines if line and line not in IGNORED][: MAX_CLASSES - len(names)]))
    return list(names)
