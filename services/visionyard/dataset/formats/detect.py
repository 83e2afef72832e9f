"""Which format a source is in, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.coco import find_coco
from visionyard.dataset.formats.createml import find_createml
from visionyard.dataset.formats.cvat import find_cvat
from visionyard.dataset.formats.folders import find_folders, has_label_files
from visionyard.dataset.formats.label_studio import find_label_studio
from visionyard.dataset.formats.labelled import LabelledSource
from visionyard.dataset.formats.labelling import Labelling
from visionyard.dataset.formats.labelme_json import find_labelme
from visionyard.dataset.formats.labelme_xml import find_labelme_xml
from visionyard.dataset.formats.predictions import find_predictions
from visionyard.dataset.formats.via import find_via
from visionyard.dataset.formats.voc import find_voc
from visionyard.dataset.formats.yolo import find_yolo
from visionyard.dataset.source import SourceTree
from visionyard.kit.errors import Reason, YardError

Finder = Callable[[SourceTree], list[Labelling]]

FORMATS: Mapping[str, Finder] = MappingProxyType(
    {
        "yolo": find_yolo,
        "voc": find_voc,
        "coco": find_coco,
        "cvat": find_cvat,
        "labelme": find_labelme,
        "labelme3": find_labelme_xml,
        "labelstudio": find_label_studio,
        "createml": find_createml,
        "via": find_via,
        "predictions": find_predictions,
        "folders": find_folders,
    }
)
"""What is read, by the name that ``--format`` takes; where several labellings are alike the first counts."""
_GUESSED = "folders"
"""What only names of folders suggest: taken where nothing else was found."""
_OTHER_ANNOTATIONS = frozenset({"json", "csv", "xml", "jsonl", "tfrecord", "record", "parquet", "manifest"})


def read_source(tree: SourceTree, format_: str) -> LabelledSource:
    """Understands a source.

    Args:
        tree: What lies in it.
        format_: A key of :data:`FORMATS` where the user says so; empty: found out.

    Raises:
        YardError: NO_IMAGES, NO_LABELS, FORMAT_UNKNOWN, CLASSES_UNKNOWN, ANNOTATION_BOMB.
    """
    names = [format_] if format_ else [name for name in FORMATS if name != _GUESSED]
    found = [labelling for name in names for labelling in FORMATS[name](tree)]
    if not found and not format_ and not has_label_files(tree):
        found = FORMATS[_GUESSED](tree)
    if not found:
        raise _nothing(tree, format_)
    chosen = found[0] if len(found) == 1 else max(found, key=_weight)
    source = chosen.source
    if not source.images and not source.left_out and not source.orphans and not tree.image_count:
        raise _nothing(tree, format_)
    others = [other for other in found if other is not chosen and not other.holds_nothing()]
    for other in others:
        source.notes.add(
            Code.OTHER_LABELLING,
            f"{other.place} is another labelling ({other.format}, {other.labelled_images()} images); it was not read",
            other.place,
        )
    if others and not format_:
        why = "a data.yaml names it" if chosen.declared else "no other labels more images"
        source.reason += f"; of {1 + len(others)} labellings this one was read, as {why}"
    return source


def _weight(labelling: Labelling) -> tuple[bool, int, int]:
    """What speaks for a labelling: that a data.yaml names it, then how many images it labels, then how many that are not there."""
    return labelling.declared, labelling.labelled_images(), labelling.missing_images()


def _nothing(tree: SourceTree, format_: str) -> YardError:
    """Why nothing can be read."""
    count = tree.image_count
    if not count and not tree.suffixes() & _OTHER_ANNOTATIONS:
        return YardError(Reason.NO_IMAGES, "the source holds no image: put the pictures (JPEG, PNG, BMP or WebP) beside their labels")
    images = "1 image" if count == 1 else f"{count} images"
    if format_:
        return YardError(Reason.NO_LABELS, f"the source holds {images} but no labels of the format {format_!r}")
    others = sorted(tree.suffixes() & _OTHER_ANNOTATIONS)
    if others:
        known = ", ".join(FORMATS)
        return YardError(
            Reason.FORMAT_UNKNOWN,
            f"the source holds {images}, but nothing that is read as labels ({known}); what is there is {', '.join(others)}: "
            "export it as one of these formats",
        )
    return YardError(
        Reason.NO_LABELS,
        f"the source holds {images} but no label: put YOLO *.txt or Pascal VOC *.xml files, or another labelling, beside them",
    )
