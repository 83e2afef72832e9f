"""Whole imports of what CVAT and LabelMe export: the same photos, labelled and exported, give the same boxes whatever the format."""

from xml.etree import ElementTree as ET

import pytest
from tests.unit.dataset.conftest import zipped


@pytest.fixture
def strawberries(test_data):
    """Left, top, right, bottom of each strawberry, read from CVAT's file by other means."""
    root = ET.parse(test_data / "formats_2label/cvat1.1/annotations.xml").getroot()
    [image] = (image for image in root.iter("image") if image.get("name") == "strawberry.jpg")
    return sorted(tuple(float(box.get(edge)) for edge in ("xtl", "ytl", "xbr", "ybr")) for box in image.iter("box"))


def imported(bench, folder, **options):
    """Imports a folder with the four photos; returns the version, its report and the strawberries' boxes in pixels."""
    photos = folder.parent / "cvat1.1/images"
    files = {f"images/{path.name}": path.read_bytes() for path in photos.iterdir()}
    files |= {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.suffix in {".xml", ".json"}}
    version, context = bench.run(zipped(files), split_ratios=(1.0, 0.0), **options)
    [row] = (row for row in bench.rows(version) if row.name == "strawberry.jpg")
    boxes = [((x - w / 2) * 800, (y - h / 2) * 800, (x + w / 2) * 800, (y + h / 2) * 800) for _, x, y, w, h, *_ in row.labels]
    return version, bench.report(context), boxes


def _distance(one, other):
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("folder", "format_", "labels", "classes", "off"),
    [("cvat1.1", "cvat", (25, 23), 8, 0.01), ("labelme3.0", "labelme3", (23, 23), 5, 0.01), ("labelme", "labelme", (25, 23), 6, 9)],
)
def test_one_labelling_in_three_formats(bench, test_data, strawberries, folder, format_, labels, classes, off):
    version, report, boxes = imported(bench, test_data / "formats_2label" / folder)
    assert (report["format"], version.task, version.image_count) == (format_, "detect", 4)
    assert (report["labels"]["found"], report["labels"]["kept"]) == labels
    assert report["dropped_by_code"] == ({"UNSUPPORTED_SHAPE": 2} if labels[0] > labels[1] else {})
    assert len(version.classes) == classes
    assert len(boxes) == 17
    nearest = [min(strawberries, key=lambda other, box=box: _distance(box, other)) for box in boxes]
    assert sorted(nearest) == strawberries
    assert max(map(_distance, boxes, nearest)) <= off


def test_polygons_are_kept_for_segmentation(bench, test_data):
    folder = test_data / "labelme_examples/instance_segmentation/data_annotated"
    version, context = bench.run(zipped({path.name: path.read_bytes() for path in folder.iterdir()}))
    report = bench.report(context)
    assert (version.task, version.image_count, version.label_count) == ("segment", 3, 12)
    assert report["dropped_by_code"] == {"IGNORED_REGION": 2}
    assert {finding["code"] for finding in report["findings"]} >= {"PARTS_JOINED", "IGNORED_REGION"}


def test_flags_are_kept_for_classification(bench, test_data):
    folder = test_data / "labelme_examples/classification/data_annotated"
    version, _ = bench.run(zipped({path.name: path.read_bytes() for path in folder.iterdir()}), split_ratios=(1.0, 0.0))
    assert (version.task, version.class_names, version.image_count) == ("classify", ("cat", "dog"), 2)
