"""COCO JSON as whole imports, and as real tools exported it."""

import json
from collections import Counter

import cv2
import pytest
from coco_documents import FACE, annotation, document, image, notes
from tests.unit.dataset.conftest import images, picture, zipped

from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.shapes import Shape
from visionyard.dataset.images import IMAGE_SUFFIXES
from visionyard.dataset.source import suffix_of

# --- whole imports


def test_an_import_reconciles(bench):
    found = [
        annotation(number=1),
        annotation(number=2, iscrowd=1),
        annotation(number=3, bbox=(500, 10, 20, 10)),
        annotation(number=4, bbox=(10, 10, 0, 10)),
        annotation(number=5, category=9),
        annotation(number=6, image=2),
        annotation(number=7, image=3),
        annotation(number=8),
        annotation(number=9, bbox=[1]),
        annotation(number=10, bbox=(30, 10, float("nan"), 10)),
    ]
    pictures = [image(1, "a.jpg", (64, 48)), image(2, "b.jpg", (64, 48)), image(3, "gone.jpg"), image(4, "c.jpg", (64, 48))]
    version, context = bench.run(
        zipped({**images("a.jpg", "b.jpg", "c.jpg", "spare.jpg"), "a.json": json.dumps(document(found, pictures))})
    )
    report = bench.report(context)
    assert report["labels"] == {"found": 10, "kept": 2, "dropped": 8}
    assert report["dropped_by_code"] == {
        "CROWD_REGION": 1,
        "DUPLICATE_BOX": 1,
        "LABEL_WITHOUT_IMAGE": 1,
        "MALFORMED_LABEL": 1,
        "NOT_A_NUMBER": 1,
        "OUT_OF_RANGE": 1,
        "UNKNOWN_CLASS": 1,
        "ZERO_AREA_BOX": 1,
    }
    assert report["images"] == {"found": 4, "kept": 3, "dropped": 1}
    assert version.source_format == "coco"
    assert version.task == "detect"


def test_polygons_are_for_segment_and_keypoints_for_pose(bench):
    polygon = annotation(segmentation=[[10, 10, 30, 10, 30, 20]])
    files = {"a.jpg": picture(1), "b.jpg": picture(2)}
    pictures = [image(1, "a.jpg", (64, 48)), image(2, "b.jpg", (64, 48))]
    version, _ = bench.run(zipped({**files, "a.json": json.dumps(document([polygon], pictures))}))
    assert (version.task, version.label_count) == ("segment", 1)
    version, _ = bench.run(zipped({**files, "a.json": json.dumps(document([polygon], pictures))}), "boxes", task="detect")
    (label,) = (label for row in bench.rows(version) for label in row.labels)
    assert (label.cx * 64, label.w * 64, label.points) == (20, 20, ())
    posed = document([annotation(keypoints=[10, 10, 2] * 3)], pictures, [{"id": 1, "name": "face", "keypoints": list(FACE)}])
    version, _ = bench.run(zipped({**files, "a.json": json.dumps(posed)}), "poses")
    assert (version.task, version.keypoints.names, version.keypoints.flip) == ("pose", FACE, (0, 2, 1))


# --- real data


def planted(plant, folder):
    """The texts of a real folder, and its images' paths and sizes."""
    files, sizes = {}, {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            is_image = suffix_of(name) in IMAGE_SUFFIXES
            files[name] = b"" if is_image else path.read_bytes()
            if is_image:
                sizes[name] = cv2.imread(str(path)).shape[1::-1]
    return plant(files), sizes


def tally(source, sizes):
    return Counter(
        (row.problem.name if row.problem else row.shape.name)
        for found in source.images
        if found.labels
        for row in source.rows(found.labels, *sizes[found.path])
    )


def test_coco128(plant, test_data):
    tree, sizes = planted(plant, test_data / "coco128")
    source = read_source(tree, "coco")
    assert (len(source.images), source.images.labelled(), len(source.orphans), len(source.left_out)) == (128, 126, 0, 0)
    assert tally(source, sizes) == {"POLYGON": 929, "CROWD_REGION": 10}
    assert len(source.class_names()) == 80
    assert source.class_names()[-1] == "toothbrush"
    assert not notes(source)


def test_coco128_as_a_whole_import(bench, test_data):
    folder = test_data / "coco128"
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    version, context = bench.run(zipped(files), format="coco")
    report = bench.report(context)
    assert (version.image_count, version.label_count, version.task) == (128, 929, "segment")
    assert report["dropped_by_code"] == {"CROWD_REGION": 10}
    assert report["labels"] == {"found": 939, "kept": 929, "dropped": 10}


def test_the_labels_of_coco128_are_those_of_its_yolo_files(plant, test_data):
    tree, sizes = planted(plant, test_data / "coco128")
    source, other = read_source(tree, "coco"), read_source(tree, "yolo")
    final = source.final_class_ids()
    compared = 0
    for found in other.images:
        if not found.labels:
            continue
        (same,) = (image_ for image_ in source.images if image_.path == found.path)
        left = [row for row in source.rows(same.labels, *sizes[found.path]) if row.problem is None]
        for row in other.rows(found.labels, 0, 0):
            nearest = min(
                left,
                key=lambda one: (final[one.class_id] != row.class_id, abs(one.cx - row.cx) + abs(one.cy - row.cy) + abs(one.w - row.w)),
            )
            assert final[nearest.class_id] == row.class_id
            assert (nearest.cx, nearest.cy, nearest.w, nearest.h) == pytest.approx((row.cx, row.cy, row.w, row.h), abs=2e-6)
            left.remove(nearest)
            compared += 1
        assert not left
    assert compared == 929 - 12 + 12


def test_the_export_of_cvat(plant, test_data):
    tree, sizes = planted(plant, test_data / "formats_2label" / "coco1.0")
    source = read_source(tree, "")
    assert source.format == "coco"
    assert tally(source, sizes) == {"BOX": 18, "POLYGON": 3, "CROWD_REGION": 2}
    strawberries = next(found for found in source.images if found.path.endswith("strawberry.jpg"))
    assert len(list(source.rows(strawberries.labels, 800, 800))) == 17
    assert source.class_names() == ("rectangle", "triangle", "circle", "ellipse", "line", "crack", "bird", "strawberry")


def test_the_export_of_label_studio(plant, test_data):
    tree, _ = planted(plant, test_data / "labelstudio_sdk_testdata" / "test_import_coco")
    source = read_source(tree, "")
    assert [(orphan.path, [row.shape for row in source.rows(orphan.labels, 0, 0)]) for orphan in source.orphans] == [
        ("image1.jpg", [Shape.POLYGON]),
        ("image2.jpg", [Shape.POLYGON]),
    ]
