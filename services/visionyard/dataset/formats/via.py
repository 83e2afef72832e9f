"""VIA's labellings (VGG Image Annotator 1 and 2): JSON exports and projects, and CSV exports.

The format: https://gitlab.com/vgg/via/-/blob/master/via-2.x.y/CodeDoc.md. An entry an image with its regions; a region has a shape in pixels, and attributes that the user
made up, one of which says its class. VIA 3 is another program with files of another kind; its projects are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.classes import NamedClasses
from visionyard.dataset.formats.labelling import Labelling
from visionyard.dataset.formats.listed import ListedImages, ListedSource, Unusable
from visionyard.dataset.formats.shapes import WrittenLabel
from visionyard.dataset.formats.via_attributes import UNNAMED, Attributes, class_of
from visionyard.dataset.formats.via_files import (
    NotVia,
    ViaEntry,
    ViaRegion,
    csv_entries,
    declared_attributes,
    is_csv,
    json_entries,
    json_kind,
)
from visionyard.dataset.formats.via_shapes import read_shape
from visionyard.dataset.source import SourceTree
from visionyard.kit.errors import Reason, YardError

Entries = Callable[[SourceTree, str], Iterator[ViaEntry]]


class ViaSource(ListedSource):
    """A VIA source. Build it with :func:`read_via_json` or :func:`read_via_csv`."""

    format = "via"


def find_via(tree: SourceTree) -> list[Labelling]:
    """The VIA labellings of a source: all its JSON files are one, all its CSV files another (exports of the same work often lie side by side)."""
    found: list[Labelling] = []
    kinds: dict[str, str] = {}
    for path in tree.each_text("json"):
        kinds.setdefault(json_kind(tree, path), path)
        if "via" in kinds:
            break
    if "via" in kinds:
        found.append(Labelling("via", kinds["via"], lambda: read_via_json(tree)))
    if table := next((path for path in tree.each_text("csv") if is_csv(tree, path)), ""):
        found.append(Labelling("via", table, lambda: read_via_csv(tree)))
    if not found and (project := kinds.get("via3")):
        found.append(Labelling("via", project, lambda: _refuse_via3(project)))
    return found


def _refuse_via3(project: str) -> ViaSource:
    raise YardError(
        Reason.FORMAT_UNKNOWN,
        f"{project} is a project of VIA 3, which is not read: export it from VIA as COCO, or label with VIA 2",
        {"file": project},
    )


def read_via_json(tree: SourceTree) -> ViaSource:
    """Reads all VIA JSON files of a source.

    Raises:
        YardError: CLASSES_UNKNOWN.
    """
    return _read(tree, lambda: (path for path in tree.each_text("json") if json_kind(tree, path) == "via"), json_entries)


def read_via_csv(tree: SourceTree) -> ViaSource:
    """Reads all VIA CSV files of a source.

    Raises:
        YardError: CLASSES_UNKNOWN.
    """
    return _read(tree, lambda: (path for path in tree.each_text("csv") if is_csv(tree, path)), csv_entries)


def _read(tree: SourceTree, paths: Callable[[], Iterable[str]], entries: Entries) -> ViaSource:
    attributes, place, files = Attributes(), "", 0
    for path in paths():
        place, files = place or path, files + 1
        _gather(tree, path, entries, attributes)
    name = attributes.choose(place)
    source = ViaSource(tree, NamedClasses(attributes.options(name)))
    images = ListedImages(tree, source)
    for path in paths():
        _read_file(tree, path, entries, name, source, images)
    images.finish()
    if not name and source.class_names():
        source.notes.add(Code.CLASS_NAMES_MISSING, f"no region of {place} has an attribute; all are called {UNNAMED!r}", place)
    says = f"the attribute {name!r} says the class" if name else "no region says its class"
    source.reason = (
        f"{files} files ({place}{', ...' if files > 1 else ''}) are exports or projects of VIA, {says}, "
        f"and {source.images.labelled()} of {len(source.images)} images have labels"
    )
    return source


def _gather(tree: SourceTree, path: str, entries: Entries, attributes: Attributes) -> None:
    # Of a damaged file what can be read counts; the damage is said when the labels are read.
    with suppress(NotVia):
        for entry in entries(tree, path):
            for region in entry.regions:
                attributes.see(region.attributes)
    if entries is json_entries:
        with suppress(NotVia):
            attributes.declare(declared_attributes(tree, path))


def _read_file(tree: SourceTree, path: str, entries: Entries, attribute: str, source: ViaSource, images: ListedImages) -> None:
    number, key = 0, ""
    try:
        for entry in entries(tree, path):
            if not entry.readable:
                source.notes.add(Code.MALFORMED_ANNOTATION, f"{path}: entry {entry.number} is no image with regions", path)
                continue
            if entry.number != number:
                number, key = entry.number, images.key(entry.name, path)
            for region in entry.regions:
                source.add(key, _written(region, attribute, source))
    except NotVia as error:
        source.notes.add(Code.MALFORMED_ANNOTATION, f"{path} cannot be read beyond its entry {number}: {error}", path)
        images.unread(path)


def _written(region: ViaRegion, attribute: str, source: ViaSource) -> WrittenLabel:
    try:
        return read_shape(region.shape, region.line, source.class_id(class_of(region.attributes, attribute)))
    except Unusable as error:
        return WrittenLabel(region.line, error.code, f"{region.where}{error}")
