"""Puts Label Studio's tasks down in the staging database while they stream by: images with what is known of them, and each label once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.classes import NamedClasses
from visionyard.dataset.formats.label_studio_config import LabelConfig
from visionyard.dataset.formats.label_studio_files import TaskFile
from visionyard.dataset.formats.label_studio_regions import Keypoint, PictureChoice, Region, read_result
from visionyard.dataset.formats.label_studio_tasks import Part, Pictures, Task, is_annotated, parts_of
from visionyard.dataset.formats.labelled import MAX_CLASSES, LabelledSource, split_of_folder, split_of_path
from visionyard.dataset.formats.matching import ImageMatcher, means_another
from visionyard.dataset.formats.shapes import Shape, Unit, WrittenLabel
from visionyard.dataset.formats.staged import LabelSpool, SourceImage
from visionyard.dataset.source import SourceTree

MAX_KEYPOINTS = 1000
_MOST_CONTROLS = 1000
_SHOWN = 80


class _Image(NamedTuple):
    """An image in the staging database: its number, and the first file that names it."""

    id: int
    file: str

    @property
    def key(self) -> str:
        """What its labels are found by."""
        return f"{self.file}#{self.id}"


@dataclass(slots=True)
class _Known:
    """What a task says of an image.

    Attributes:
        member: Whether it belongs to the set.
        labels: How many labels were put down.
        size: In pixels as written; zeros where it is not.
    """

    member: bool = False
    labels: int = 0
    size: tuple[int, int] = (0, 0)


class Reading:
    """Takes the tasks of one labelling.

    Args:
        tree: The source.
        source: Gets the images, orphans and notes.
        config: The project's labelling interface.
    """

    def __init__(self, tree: SourceTree, source: LabelledSource, config: LabelConfig) -> None:
        self.task_count = 0
        self._tree = tree
        self._source = source
        self._config = config
        self._matcher = ImageMatcher(tree)
        self._spool = LabelSpool(tree.staging)
        self._classes = NamedClasses(config.classes)
        self._keypoints = {name: i for i, name in enumerate(config.keypoints[:MAX_KEYPOINTS])}
        self._has_keypoints = False
        self._region_count = 0
        self._known: dict[int, _Known] = {}
        self._ignored: Counter[str] = Counter()
        staging = tree.staging
        staging.run("CREATE TABLE IF NOT EXISTS ls_sets (id INTEGER PRIMARY KEY)")
        staging.run(
            "CREATE TABLE IF NOT EXISTS ls_images (id INTEGER PRIMARY KEY, set_id INT, found INT, name TEXT, file TEXT, split TEXT, "
            "member INT DEFAULT 0, labels INT DEFAULT 0, width INT DEFAULT 0, height INT DEFAULT 0, written TEXT, UNIQUE (set_id, found, name))"
        )
        staging.run(
            "CREATE TABLE IF NOT EXISTS ls_choices (set_id INT, image INT, control TEXT, choice TEXT, many INT, refused TEXT, conf REAL)"
        )
        self._set = staging.run("INSERT INTO ls_sets VALUES (NULL)")

    def take(self, task: Task, file: TaskFile) -> None:
        """Puts a task down."""
        self.task_count += 1
        pictures = Pictures(task, self._config)
        named = pictures.all()
        images = {name: self._image(name, task, file) for name in named or [""]}
        first = next(iter(images.values()))
        annotated = is_annotated(task)
        self._known = {image.id: _Known(member=annotated) for image in images.values()}
        for part in parts_of(task):
            result = read_result(part.result)
            for region in result.regions:
                name = pictures.of(region.image, region.page)
                if name not in images:
                    images[name] = self._image(name, task, file) if name else first
                    self._known.setdefault(images[name].id, _Known(member=annotated))
                self._region(images[name], name, region, part)
            for choice in result.choices:
                self._choice(images.get(pictures.of(choice.image, 0), first), choice, part)
            self._ignored.update(name for name in result.ignored if name in self._ignored or len(self._ignored) < _MOST_CONTROLS)
        for number, known in self._known.items():
            self._tree.staging.run(
                "UPDATE ls_images SET labels = labels + ?, member = max(member, ?), width = max(width, ?), height = max(height, ?) WHERE id = ?",
                (known.labels, known.member, *known.size, number),
            )

    def _image(self, name: str, task: Task, file: TaskFile) -> _Image:
        """Takes an image; one without a name is called after its task."""
        staging = self._tree.staging
        found = self._matcher.find(name, file.path) if name else None
        if not found and task.upload:
            found = self._matcher.find(task.upload, file.path)
        if found and name and self._means_another(name, found):
            found = None
        written = found or name or f"the picture of task {task.id or self.task_count}"
        before = staging.one(
            "SELECT id, file FROM ls_images WHERE set_id = ? AND found = ? AND name = ?", (self._set, bool(found), written)
        )
        if before:
            said = f"{file.path} names {written[:_SHOWN]!r} more than once, in several tasks; the labels were put together"
            self._source.notes.add(Code.IMAGE_NAMED_TWICE, said, file.path)
            return _Image(*before)
        told = task.data.get("split")
        split = (split_of_folder(told) if isinstance(told, str) else "") or file.split or (split_of_path(found, "") if found else "")
        row = self._set, bool(found), written, file.path, split, name
        return _Image(
            staging.run("INSERT INTO ls_images (set_id, found, name, file, split, written) VALUES (?, ?, ?, ?, ?, ?)", row), file.path
        )

    def _means_another(self, name: str, found: str) -> bool:
        """Whether a name leads to an image only because its own picture is missing; an earlier task's name that did so leads nowhere from now on."""
        staging = self._tree.staging
        before = staging.one("SELECT id, written FROM ls_images WHERE set_id = ? AND found = 1 AND name = ?", (self._set, found))
        if before and before[1] and means_another(before[1], name, found):
            staging.run("UPDATE ls_images SET found = 0, name = written WHERE id = ?", (before[0],))
            return False
        return bool(before and before[1] and means_another(name, before[1], found))

    def _region(self, image: _Image, name: str, region: Region, part: Part) -> None:
        known = self._known[image.id]
        for label in self._labels(name, region, part):
            self._spool.add(image.key, label)
            known.labels += 1
        known.size = max(known.size, region.size)
        known.member |= part.predicted and not part.refused and not region.problem

    def _labels(self, name: str, region: Region, part: Part) -> Iterator[WrittenLabel]:
        """A label for each class of a region, or one that says why it cannot be used."""
        where = f"{region.where} of image {name[:_SHOWN]!r}"
        if part.refused:
            yield WrittenLabel(problem=Code.ANNOTATION_NOT_TAKEN, message=f"{where} {part.refused}")
            return
        self._region_count += 1
        if region.problem:
            yield WrittenLabel(problem=region.problem, message=f"{where} {region.message}")
            return
        confidence = (part.score if region.score is None else region.score) if part.predicted else None
        points = region.points or tuple(self._placed(region.keypoints))
        for written in region.classes:
            class_id = self._classes.id_of(written)
            if class_id is None:
                message = f"{where} is of yet another class; no more than {MAX_CLASSES} are read"
                yield WrittenLabel(problem=Code.UNKNOWN_CLASS, message=message)
                continue
            yield WrittenLabel(
                class_id=class_id, shape=region.shape, box=region.box, points=points, unit=Unit.SHARES, confidence=confidence
            )

    def _placed(self, keypoints: tuple[Keypoint, ...]) -> Iterator[float]:
        """Position, x, y and visibility of each; positions are given in the order in which names come up."""
        for name, x, y, visibility in keypoints:
            if name not in self._keypoints and len(self._keypoints) >= MAX_KEYPOINTS:
                self._ignored[f"keypoints beyond the first {MAX_KEYPOINTS}"] += 1
                continue
            self._has_keypoints = True
            yield from (self._keypoints.setdefault(name, len(self._keypoints)), x, y, visibility)

    def _choice(self, image: _Image, choice: PictureChoice, part: Part) -> None:
        confidence = (part.score if choice.score is None else choice.score) if part.predicted else None
        row = self._set, image.id, choice.control, next(iter(choice.choices), ""), len(choice.choices), part.refused, confidence
        self._tree.staging.run("INSERT INTO ls_choices VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def keypoint_names(self) -> tuple[str, ...]:
        """The keypoints' names in their order; none where no rectangle has any."""
        return tuple(self._keypoints) if self._has_keypoints else ()

    def finish(self) -> NamedClasses:
        """All tasks were taken: tells the source of its images; returns its classes."""
        classes = self._take_choices()
        for answers, count in sorted(self._ignored.items()):
            said = f"answers of {answers} were given {count} times; they were ignored"
            self._source.notes.add(Code.ANSWERS_IGNORED, said)
        for number, found, name, file, split, member, count in self._tree.staging.query(
            "SELECT id, found, name, file, split, member, labels FROM ls_images WHERE set_id = ? ORDER BY id", (self._set,)
        ):
            self._tree.check()
            image = SourceImage(name, split, _Image(number, file).key if count else "", stated=file)
            self._list(image, file, found=bool(found), member=bool(member))
        self._leave_out_others()
        return classes

    def _list(self, image: SourceImage, file: str, *, found: bool, member: bool) -> None:
        source = self._source
        if found and member:
            source.images.append(image)
        elif found:
            source.left_out.append(image)
        elif image.labels:
            source.orphans.append(image)
        else:
            said = f"{file} names {image.path[:_SHOWN]!r}, which is not there and has no labels"
            source.notes.add(Code.LISTED_IMAGE_MISSING, said, file)

    def _leave_out_others(self) -> None:
        statement = (
            "SELECT path FROM files WHERE image AND folder IN "
            "(SELECT DISTINCT f.folder FROM files f JOIN ls_images l ON f.path = l.name WHERE l.set_id = ? AND l.found = 1) "
            "AND NOT EXISTS (SELECT 1 FROM ls_images l WHERE l.set_id = ? AND l.found = 1 AND l.name = files.path) ORDER BY path"
        )
        for (path,) in self._tree.staging.query(statement, (self._set, self._set)):
            self._tree.check()
            self._source.left_out.append(SourceImage(path, split_of_path(path, "")))

    def _take_choices(self) -> NamedClasses:
        """Makes the choices about whole pictures labels, where nothing was drawn: those of the control that was answered most; other answers are ignored."""
        staging, taken = self._tree.staging, ""
        counted = "SELECT control, COUNT(*) FROM ls_choices WHERE set_id = ? GROUP BY control ORDER BY COUNT(*) DESC, control"
        for position, (control, count) in enumerate(list(staging.query(f"{counted} LIMIT {_MOST_CONTROLS}", (self._set,)))):
            if position or self._region_count:
                self._ignored[f"{control or 'a control without name'} (choices)"] += count
            else:
                taken = control
                self._source.task = "classify"
        if not self._source.task:
            return self._classes
        classes = NamedClasses(self._config.choices.get(taken, ()))
        rows = "SELECT image, name, file, choice, many, refused, conf FROM ls_choices JOIN ls_images ON id = image WHERE ls_choices.set_id = ? AND control = ?"
        for number, name, file, choice, many, refused, confidence in staging.query(f"{rows} ORDER BY ls_choices.rowid", (self._set, taken)):
            label = _chosen(f"the choice about image {name[:_SHOWN]!r}", choice, many, refused, confidence, classes)
            image = _Image(number, file)
            self._spool.add(image.key, label)
            member = confidence is not None and not label.problem
            staging.run("UPDATE ls_images SET labels = labels + 1, member = max(member, ?) WHERE id = ?", (member, number))
        return classes


def _chosen(where: str, choice: str, many: int, refused: str, confidence: float | None, classes: NamedClasses) -> WrittenLabel:
    """A choice about a picture as its class."""
    if refused:
        return WrittenLabel(problem=Code.ANNOTATION_NOT_TAKEN, message=f"{where} {refused}")
    if many != 1:
        return WrittenLabel(problem=Code.SEVERAL_CLASSES, message=f"{where} names {many} classes; a picture can have one")
    class_id = classes.id_of(choice)
    if class_id is None:
        return WrittenLabel(problem=Code.UNKNOWN_CLASS, message=f"{where} is yet another class; no more than {MAX_CLASSES} are read")
    return WrittenLabel(class_id=class_id, shape=Shape.IMAGE, box=(0.0, 0.0, 1.0, 1.0), unit=Unit.SHARES, confidence=confidence)
