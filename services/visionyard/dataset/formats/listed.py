"""Labellings whose files name their images (CreateML, VIA): which image of the source each name means, and which images belong to the set."""

from __future__ import annotations

from collections.abc import Iterator

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.classes import NamedClasses
from visionyard.dataset.formats.labelled import MAX_CLASSES, LabelledSource, UnreadLabels, split_of_path
from visionyard.dataset.formats.matching import ImageMatcher, means_another, printable
from visionyard.dataset.formats.shapes import LabelRow, WrittenLabel
from visionyard.dataset.formats.staged import LabelSpool, SourceImage
from visionyard.dataset.source import SourceTree, stem_of

_UNREAD = "#unread"
"""Ends the key of an image whose own file is damaged; the others end in a number."""
_MAX_CLASS_NAME = 1000
_MAX_NAME = 4096
_SHOWN = 80


class Unusable(ValueError):
    """A label cannot be used; the message is the end of a sentence that begins with where it stands.

    Attributes:
        code: Why.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class ListedSource(LabelledSource):
    """A source whose files list their images; its labels are put down while the files stream by.

    Args:
        tree: The source.
        classes: Takes the classes that come up.
    """

    left_out_because = (Code.IMAGE_NOT_LISTED, "is named by no file of the labelling")

    def __init__(self, tree: SourceTree, classes: NamedClasses) -> None:
        super().__init__(tree.staging)
        self._classes = classes
        self._spool = LabelSpool(tree.staging)

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:
        """See :meth:`LabelledSource.rows`."""
        if labels.endswith(_UNREAD):
            raise UnreadLabels("it is damaged")
        return self._spool.rows(labels, width, height)

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`LabelledSource.class_names`: those that the source declares, then the others in alphabetical order."""
        return self._classes.names()

    def final_class_ids(self) -> list[int]:
        """See :meth:`LabelledSource.final_class_ids`."""
        return self._classes.final_ids()

    def class_id(self, name: object) -> int:
        """The id for now of a class that a file names by a text or a number.

        Raises:
            Unusable: it is neither, or there are 10,000 others already.
        """
        text = "" if isinstance(name, bool) or not isinstance(name, str | int) else printable(str(name)[:_MAX_CLASS_NAME]).strip()
        if not text:
            raise Unusable(Code.MALFORMED_LABEL, "does not say its class")
        number = self._classes.id_of(text)
        if number is None:
            raise Unusable(Code.UNKNOWN_CLASS, f"is of yet another class; no more than {MAX_CLASSES} are read")
        return number

    def add(self, key: str, label: WrittenLabel) -> None:
        """Puts a label down under what :meth:`ListedImages.key` gave for its image."""
        self._spool.add(key, label)


class ListedImages:
    """Takes the images that a source's files name.

    An image that is named again gets the labels of both places; of labels that are alike one is dropped later, and listed.

    Args:
        tree: The source.
        source: What its images, orphans and notes go to.
    """

    def __init__(self, tree: SourceTree, source: ListedSource) -> None:
        self._tree = tree
        self._source = source
        self._matcher = ImageMatcher(tree)
        staging = tree.staging
        staging.run("DROP TABLE IF EXISTS listed")
        staging.run("CREATE TABLE listed (id INTEGER PRIMARY KEY, identity TEXT, known INT, name TEXT, file TEXT, split TEXT)")
        staging.run("CREATE INDEX listed_by_identity ON listed (identity, known)")
        staging.run("DROP TABLE IF EXISTS listed_unread")
        staging.run("CREATE TABLE listed_unread (image TEXT PRIMARY KEY, file TEXT) WITHOUT ROWID")
        self._list_cut_off = False

    def key(self, name: str, file: str, split: str = "") -> str:
        """Takes an image; returns what its labels are to be put down under.

        Args:
            name: As written.
            file: The file that names it.
            split: ``train``, ``val`` or ``test`` where the file says it; empty: folders tell.
        """
        self._tree.check()
        name = printable(name[:_MAX_NAME])
        staging, image = self._tree.staging, self._matcher.find(name, file) or ""
        known = bool(image)
        before = staging.one("SELECT id, file, name FROM listed WHERE identity = ? AND known = ?", (image or name, known))
        if before and known and means_another(name, before[2], image):
            return self._missing(name, file, split)
        if before and known and means_another(before[2], name, image):
            staging.run("UPDATE listed SET identity = ?, known = 0 WHERE id = ?", (before[2], before[0]))
            before = None
        if before is None:
            number = staging.run("INSERT INTO listed VALUES (NULL, ?, ?, ?, ?, ?)", (image or name, known, name, file, split))
            return f"{file}#{number}"
        where = "more than once" if before[1] == file else f"as {before[1]} does"
        self._source.notes.add(Code.IMAGE_NAMED_TWICE, f"{file} names {name[:_SHOWN]!r} {where}; the labels were put together", file)
        return f"{before[1]}#{before[0]}"

    def _missing(self, name: str, file: str, split: str) -> str:
        """Takes an image that is not there, whatever there is of its file name."""
        staging = self._tree.staging
        before = staging.one("SELECT id, file FROM listed WHERE identity = ? AND NOT known", (name,))
        if before:
            return f"{before[1]}#{before[0]}"
        number = staging.run("INSERT INTO listed VALUES (NULL, ?, 0, ?, ?, ?)", (name, name, file, split))
        return f"{file}#{number}"

    def image_of(self, file: str) -> str | None:
        """The image of a file's own name; None where there is none."""
        return self._matcher.find(stem_of(file), file)

    def unread(self, file: str) -> None:
        """Takes a file that cannot be read, or not to its end: the image of its name, if no other file names it, is none that nothing is on.

        Where it has the name of no image it is a list, and an image that no file names may have stood behind the damage.
        """
        image = self.image_of(file)
        if image is None:
            self._list_cut_off = True
        else:
            self._tree.staging.run("INSERT OR IGNORE INTO listed_unread VALUES (?, ?)", (image, file))

    def finish(self, *, all_listed: bool = False) -> None:
        """All were taken: tells the source of them.

        Images in the same folders that no file names: where there is a file an image, one without is background, as one without label file is in YOLO and VOC.
        Where a file lists many images, it lists the set, so others are no part of it and are left out.

        Args:
            all_listed: Whether the files list the set in any case, a set of a single image too.
        """
        staging, source = self._tree.staging, self._source
        for number, image, known, name, file, split in staging.query(
            "SELECT id, identity, known, name, file, split FROM listed ORDER BY id"
        ):
            self._tree.check()
            key = f"{file}#{number}"
            labels = key if staging.one("SELECT 1 FROM spool WHERE key = ? LIMIT 1", (key,)) else ""
            if known:
                # Where nothing says it, the folders of the image tell its split, or else those of the file.
                told = split or split_of_path(image, "") or split_of_path(file, "")
                source.images.append(SourceImage(image, told, labels, stated=file))
            elif labels:
                source.orphans.append(SourceImage(name, labels=labels))
            else:
                source.notes.add(Code.LISTED_IMAGE_MISSING, f"{file} names {name[:_SHOWN]!r}, which is not there and has no labels", file)
        many = staging.one("SELECT 1 FROM listed GROUP BY file HAVING COUNT(*) > 1 LIMIT 1")
        others = source.left_out if all_listed or many or self._list_cut_off else source.images
        for image, damaged in staging.query(
            "SELECT path, (SELECT file FROM listed_unread WHERE image = files.path) FROM files WHERE image "
            "AND folder IN (SELECT DISTINCT f.folder FROM listed l JOIN files f ON f.path = l.identity WHERE l.known) "
            "AND NOT EXISTS (SELECT 1 FROM listed WHERE identity = files.path AND known) ORDER BY path"
        ):
            self._tree.check()
            labels = f"{damaged}{_UNREAD}" if damaged and others is source.images else ""
            others.append(SourceImage(image, split_of_path(image, ""), labels))
