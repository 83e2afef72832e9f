"""What an import may find: the codes, how grave each is, and what to do about it; and the report that counts and lists them."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from visionyard.kit.errors import Reason, YardError

MAX_LISTED = 10_000
"""The most findings that a report lists; its counts are whole all the same."""
_MAX_MESSAGE = 500


class Severity(enum.Enum):
    """How grave a finding is; the names are those of ``visionyard.dataset.v1.Severity``."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


@enum.unique  # equal ones would be one code under two names
class Code(enum.Enum):
    """What was found: severity and remedy. The names are what programs switch on."""

    # labels
    ZERO_AREA_BOX = (Severity.ERROR, "Draw the box again, or delete it.")
    OUT_OF_RANGE = (
        Severity.ERROR,
        "Coordinates are shares of the picture's size, from 0 to 1 (pixels within the picture in VOC): export the labels again.",
    )
    BOX_CLIPPED = (Severity.WARNING, "Nothing needs doing: the box ends at the picture's edge now, as Ultralytics would have it.")
    SWAPPED_CORNERS = (Severity.ERROR, "Write the smaller coordinate first, or import with --fix.")
    NOT_A_NUMBER = (Severity.ERROR, "Give the box finite coordinates, or delete it.")
    DUPLICATE_BOX = (Severity.WARNING, "Nothing needs doing: one of the two was kept.")
    NEARLY_SAME_BOXES = (Severity.WARNING, "Look at the picture: delete one of the two if the object was labelled twice.")
    UNKNOWN_CLASS = (Severity.ERROR, "Add the class to the list of classes, or correct the label.")
    MALFORMED_LABEL = (Severity.ERROR, "Write the label as the format wants it, or delete it.")
    POLYGON_AS_BOX = (
        Severity.INFO,
        "Nothing needs doing: for detection a polygon counts as the box around it. Import with --task segment to keep polygons.",
    )
    ROTATED_AS_BOX = (
        Severity.INFO,
        "Nothing needs doing: for detection a rotated box counts as the upright box around it. Import with --task obb to keep rotations.",
    )
    BOX_AS_POLYGON = (Severity.INFO, "Draw the object's outline, or leave its box's corners as the polygon.")
    POLYGON_AS_ROTATED = (Severity.INFO, "Nothing needs doing: the smallest rotated box around the polygon was taken.")
    KEYPOINTS_IGNORED = (Severity.INFO, "Nothing needs doing: only the box of a label with keypoints is used for this task.")
    NO_KEYPOINTS = (Severity.WARNING, "Set the object's keypoints: those that are missing count as not there.")
    KEYPOINT_OUTSIDE = (Severity.WARNING, "Set the keypoints within the picture, or mark them as not there.")
    VISIBILITY_UNKNOWN = (Severity.WARNING, "Write the visibility of a keypoint as 0 (not there), 1 (hidden) or 2 (seen).")
    KEYPOINTS_UNREAD = (Severity.WARNING, "Correct the keypoints' declaration.")
    PARTS_JOINED = (Severity.INFO, "Nothing needs doing: the parts of one object are joined by a line, as Ultralytics' converter does.")
    HOLES_FILLED = (Severity.INFO, "Nothing needs doing: a polygon has no holes, so these were filled.")
    OUTLINE_UNREAD = (Severity.WARNING, "Draw the object's outline again: without it the label is only a box.")
    CROWD_REGION = (Severity.INFO, "Nothing needs doing: Ultralytics' own converter leaves crowd regions out too.")
    IGNORED_REGION = (Severity.INFO, "Nothing needs doing: LabelMe's own converters leave such regions out too.")
    CLASS_DENIED = (
        Severity.INFO,
        "Nothing needs doing: such a label says that its class is not in the picture, which no task is trained on.",
    )
    DELETED_LABEL = (Severity.INFO, "Nothing needs doing: whoever labelled it has deleted it.")
    MASK_AS_BOX = (
        Severity.WARNING,
        "Export the object as a polygon if its outline is wanted: of the mask only the box around it was taken.",
    )
    UNSUPPORTED_SHAPE = (Severity.WARNING, "Draw it as a box or polygon.")
    PREDICTED = (Severity.INFO, "Look through the predicted labels and correct them before they are trained on.")
    TASK_GUESSED = (Severity.INFO, "Import with --task if the labels are for something else.")
    DIFFICULT_KEPT = (
        Severity.INFO,
        "Nothing needs doing; delete these objects if the model is not to learn them, as Ultralytics' VOC.yaml leaves them out.",
    )
    OTHER_KIND_OF_LABEL = (Severity.ERROR, "Label the picture for one task, or import with --task.")
    SEVERAL_CLASSES = (Severity.ERROR, "Give the picture one class.")
    LABEL_WITHOUT_IMAGE = (Severity.ERROR, "Add the image, or delete the label file.")
    MALFORMED_ANNOTATION = (Severity.ERROR, "Export the annotation file again.")
    ANNOTATION_NOT_TAKEN = (
        Severity.WARNING,
        "Nothing needs doing if the right one was taken; else mark that one as ground truth in the labelling tool.",
    )
    ANSWERS_IGNORED = (Severity.INFO, "Nothing needs doing: a version holds shapes with classes, or one class a picture.")
    LABEL_CONFIG_UNREAD = (
        Severity.WARNING,
        "Save the labelling interface's XML again: the order of classes and keypoints was not taken from it.",
    )
    NOT_PREDICTED = (Severity.WARNING, "Predict on the image again, if it is to be in the set.")
    # images
    IMAGE_NAMED_TWICE = (Severity.WARNING, "Look whether the image's labels are doubled; of labels that are the same one was dropped.")
    LISTED_IMAGE_MISSING = (Severity.WARNING, "Add the image, or take it out of the labelling.")
    NOT_ANNOTATED = (Severity.WARNING, "Annotate the image (an empty annotation says that nothing is to be seen), or leave it out.")
    IMAGE_NOT_LISTED = (Severity.WARNING, "Add the image to the labelling, or take it out of the source.")
    IMAGE_WITHOUT_LABELS = (
        Severity.INFO,
        "Nothing needs doing if nothing is to be seen in it: it trains as background. Else add its label file.",
    )
    IMAGE_WITHOUT_CLASS = (Severity.WARNING, "Put the picture into its class's folder, or give it a class.")
    IMAGE_EMBEDDED = (
        Severity.WARNING,
        "Save the picture as a file of that name beside it, which labelme's labelme_export_json does: pictures within label files are not read.",
    )
    CORRUPT_IMAGE = (Severity.ERROR, "Copy the image again from where it came from.")
    IMAGE_TOO_LARGE = (Severity.WARNING, "Scale the image down.")
    IMAGE_TOO_SMALL = (Severity.WARNING, "Leave it out: Ultralytics reads no image under 10 pixels.")
    UNSUPPORTED_IMAGE_TYPE = (Severity.WARNING, "Convert it to JPEG or PNG.")
    IMAGE_NORMALISED = (Severity.INFO, "Nothing needs doing: the picture's pixels are the same.")
    STRAY_BYTES = (Severity.WARNING, "Look at the picture: it may be damaged.")
    EXIF_ROTATED = (Severity.INFO, "Check that the labels were drawn on the upright picture, as most tools show it.")
    SIZE_MISMATCH = (Severity.WARNING, "Check that the labels were drawn on this very picture.")
    DUPLICATE_IMAGE = (Severity.WARNING, "Delete one of the two.")
    SPLIT_LEAKAGE = (Severity.ERROR, "Keep the image in one split only, or the metrics will flatter the model.")
    IMAGE_NOT_IN_SPLIT = (Severity.WARNING, "Name its folder or list under train, val or test, or leave it out.")
    # the set as a whole
    NEAR_DUPLICATE_IMAGES = (Severity.INFO, "Keep one of them, or a few: pictures that look alike teach the model little.")
    NEAR_LEAKAGE = (
        Severity.WARNING,
        "Keep pictures that look alike in one split (yard dataset split --group-by similar), or the metrics will flatter the model.",
    )
    CLASS_IMBALANCE = (Severity.INFO, "Label more of the rare classes; the metrics of each class tell whether it is needed.")
    RARE_CLASS = (
        Severity.WARNING,
        "Add pictures of these classes, merge them into others, or leave them out (yard dataset remap, filter).",
    )
    CLASS_WITHOUT_LABELS = (Severity.INFO, "Nothing needs doing; take the class out of the list if it is not to be learnt.")
    CLASS_NOT_IN_SPLIT = (Severity.WARNING, "Add such pictures to the split, or draw the splits anew with --split.")
    TINY_OBJECTS = (Severity.INFO, "Train at a larger --imgsz, or cut the pictures into tiles.")
    MANY_BACKGROUNDS = (
        Severity.INFO,
        "Check that these pictures are meant to be empty; up to a tenth of the pictures is what Ultralytics recommends.",
    )
    WHOLE_PICTURE_BOXES = (Severity.WARNING, "Draw boxes around the objects, or import the set for --task classify.")
    FEW_IMAGES = (Severity.INFO, "Add pictures; until then take the metrics with care.")
    SIZES_DIFFER = (
        Severity.INFO,
        "Nothing needs doing: every picture is scaled to one size. Check that small objects survive it in the large ones.",
    )
    CHANNELS_DIFFER = (
        Severity.INFO,
        "Nothing needs doing: every picture is read as three channels. Check that the odd ones belong to the set.",
    )
    # the source as a whole
    OTHER_LABELLING = (Severity.INFO, "Import with --format (or that file alone) to read it instead.")
    PATHS_ALIKE = (Severity.WARNING, "Rename one of the two: Windows and macOS take them for one file.")
    NESTED_ARCHIVE = (Severity.WARNING, "Unpack it and pack its files with the others, or import it by itself.")
    PATH_TWICE = (Severity.ERROR, "Pack the archive again: only the first entry of that path was read.")
    SPLIT_MISSING = (Severity.ERROR, "Add the images, or take the split out of the list.")
    SPLIT_ENTRY_WITHOUT_IMAGE = (Severity.WARNING, "Add the image, or take it out of the list.")
    SPLITS_ALIKE = (Severity.WARNING, "Give train and val different images, or leave the drawn split.")
    TEST_USED_AS_VAL = (Severity.INFO, "Nothing needs doing; give the source a val split to keep test apart.")
    YAML_UNREAD = (Severity.WARNING, "Correct the file if it is the set's data.yaml: neither its classes nor its splits were taken.")
    CLASSES_MISMATCH = (Severity.WARNING, "Make the number of classes and the list of their names agree.")
    CLASS_NAMES_MISSING = (Severity.INFO, "Give the classes names in the data.yaml.")
    SPLIT_NOT_STRATIFIED = (Severity.INFO, "Nothing needs doing; another seed, or more images, may come closer.")
    CLASS_FILTERED = (Severity.INFO, "Nothing needs doing: labels of these classes were to go.")
    CLASS_NAMES_ALIKE = (Severity.WARNING, "Give both the same name (--map FROM=TO) if they mean the same.")
    NOT_IN_SUBSET = (Severity.INFO, "Nothing needs doing: these images were not drawn.")
    LABELS_JOINED = (Severity.WARNING, "Look at the picture: two versions label it differently.")
    CLASSES_DIFFER = (
        Severity.WARNING,
        "Look at the picture: two versions put it into different classes. Correct it, or give both one name (--map FROM=TO).",
    )
    RELABELLED = (Severity.INFO, "Nothing needs doing: the new labels count.")
    PREDICTION_IGNORED = (Severity.INFO, "Nothing needs doing: a person's labels stay before predicted ones.")
    VERSION_UNCHANGED = (Severity.INFO, "Nothing needs doing: the content was there already.")

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return self.value[0]

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return self.value[1]


@dataclass(frozen=True)
class Finding:
    """One thing that an import found.

    Attributes:
        code: What it is.
        severity: How grave.
        file: The file in the source, relative to its root; empty for the source as a whole.
        line: From 1; 0 where there is none.
        message: What was found, in a sentence.
        remedy: What to do about it.
        image: The version's image that it is about, ``{split}/{name}``; empty where there is none.
        fixed: Whether the import mended it.
        related: Other images of the version that belong to it, ``{split}/{name}``: those that the image looks like.
    """

    code: str
    severity: str
    file: str
    line: int
    message: str
    remedy: str
    image: str = ""
    fixed: bool = False
    related: tuple[str, ...] = ()


@dataclass
class Count:
    """How many there were: found = kept + dropped."""

    found: int = 0
    kept: int = 0

    @property
    def dropped(self) -> int:
        """Left out."""
        return self.found - self.kept

    def to_json(self) -> dict[str, int]:
        """As the stored report has it."""
        return {"found": self.found, "kept": self.kept, "dropped": self.dropped}


@dataclass
class Report:
    """Counts and findings, while they are being made.

    Attributes:
        images: Images found and kept.
        labels: Labels found and kept.
        format: The format that was read.
        format_reason: Why, in a sentence.
        split_reason: Where the splits come from, in a sentence.
        task_reason: Why its labels were taken for its task, in a sentence.
        dropped_by_code: How many labels each code dropped.
        classes: For each class its name and counts, named as in ``visionyard.dataset.v1.ClassCounts``.
    """

    images: Count = field(default_factory=Count)
    labels: Count = field(default_factory=Count)
    format: str = ""
    format_reason: str = ""
    split_reason: str = ""
    task_reason: str = ""
    dropped_by_code: Counter[str] = field(default_factory=Counter)
    classes: list[dict[str, str | int]] = field(default_factory=list)
    _findings: list[Finding] = field(default_factory=list)
    _pictures: list[str] = field(default_factory=list)
    _info_at: list[int] = field(default_factory=list)
    _truncated: bool = False

    def note(
        self,
        code: Code,
        message: str,
        file: str = "",
        line: int = 0,
        *,
        fixed: bool = False,
        severity: Severity | None = None,
        related: Sequence[str] = (),
        picture: str = "",
    ) -> None:
        """Lists a finding. Info is the first to be left out of a long list. Costs the same however long the list is.

        Args:
            code: What it is.
            message: In a sentence.
            file: In the source; empty for the source as a whole.
            line: From 1; 0 where there is none.
            fixed: Whether it was mended.
            severity: How grave, where that depends on numbers; else the code's own.
            related: Files of other images that belong to it; made names of the version by :meth:`place`.
            picture: The image that it is about, where ``file`` is neither that nor its own label file.
        """
        grave = severity or code.severity
        info, full = grave is Severity.INFO, len(self._findings) >= MAX_LISTED
        self._truncated |= full
        if full and (info or not self._info_at):
            return
        finding = Finding(code.name, grave.value, file, line, message[:_MAX_MESSAGE], code.remedy, fixed=fixed, related=tuple(related))
        if full:
            at = self._info_at.pop()  # the report is sorted in the end, so any place will do
            self._findings[at], self._pictures[at] = finding, picture
            return
        if info:
            self._info_at.append(len(self._findings))
        self._findings.append(finding)
        self._pictures.append(picture)

    def place(self, image_of: Callable[[str], str]) -> None:
        """Sets each finding's images, by their files in the source."""
        known: dict[str, str] = {}

        def placed(file: str) -> str:
            if file not in known:
                known[file] = image_of(file)
            return known[file]

        for at, finding in enumerate(self._findings):
            if finding.file:
                related = tuple(name for name in map(placed, finding.related) if name)
                self._findings[at] = replace(finding, image=placed(self._pictures[at] or finding.file), related=related)

    def errors(self) -> list[Finding]:
        """The listed findings that are errors and were not mended, by file and line."""
        found = [f for f in self._findings if f.severity == Severity.ERROR.value and not f.fixed]
        return sorted(found, key=lambda f: (f.file, f.line, f.code, f.message))

    def drop_labels(self, code: Code, count: int = 1) -> None:
        """Counts labels that were found and are not kept."""
        if count:
            self.dropped_by_code[code.name] += count

    def to_json(self) -> dict[str, Any]:
        """The stored report; findings by file and line."""
        return {
            "findings": [asdict(f) for f in sorted(self._findings, key=lambda f: (f.file, f.line, f.code, f.message))],
            "findings_truncated": self._truncated,
            "images": self.images.to_json(),
            "labels": self.labels.to_json(),
            "dropped_by_code": dict(sorted(self.dropped_by_code.items())),
            "format": self.format,
            "format_reason": self.format_reason,
            "split_reason": self.split_reason,
            "task_reason": self.task_reason,
            "classes": self.classes,
        }


def refuse_errors(report: Report) -> None:
    """Refuses a source in which something is wrong that a person should mend.

    Raises:
        YardError: FINDINGS_REFUSED.
    """
    errors = report.errors()
    if errors:
        first = errors[0].message
        what = "an error" if len(errors) == 1 else f"{len(errors)} errors, the first"
        raise YardError(
            Reason.FINDINGS_REFUSED,
            f"the source was to be imported strictly only, and has {what}: {first[:200]}",
            {"count": str(len(errors)), "codes": ",".join(sorted({str(error.code) for error in errors}))},
        )
