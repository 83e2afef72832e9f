"""What becomes of labels whose classes get other ids, or become one, when a version is made of what was read."""

import json

import pytest
from tests.unit.dataset.conftest import images, zipped

NAMES = {1: "dog", 5: "cat", 9: "dog"}
BOX, OTHER = [10, 10, 20, 20], [30, 10, 20, 20]


def coco(*boxes):
    """A COCO source of as many images as there are lists of (category, box)."""
    paths = [f"{number}.jpg" for number in range(len(boxes))]
    document = {
        "images": [{"id": number, "file_name": path, "width": 64, "height": 48} for number, path in enumerate(paths)],
        "categories": [{"id": key, "name": name} for key, name in NAMES.items()],
        "annotations": [
            {"id": 10 * number + at, "image_id": number, "category_id": category, "bbox": box}
            for number, found in enumerate(boxes)
            for at, (category, box) in enumerate(found)
        ],
    }
    return zipped({"annotations.json": json.dumps(document), **images(*paths)})


def test_two_categories_of_one_name_are_one_class_and_a_box_of_both_is_one(bench):
    # the ids in the order in which labels come: cat 0, dog (9) 1, dog (1) 2; in the version dog is 0 and cat 1
    version, context = bench.run(coco([(5, BOX), (9, BOX)], [(1, BOX), (9, BOX)], [(1, BOX), (9, OTHER)], [], [(9, OTHER)]))
    assert [kind.name for kind in version.classes] == ["dog", "cat"]
    by_name = {row.name: [(label.class_id, round(label.cx * 64)) for label in row.labels] for row in bench.rows(version)}
    assert by_name == {
        "0.jpg": [(0, 20), (1, 20)],
        "1.jpg": [(0, 20)],
        "2.jpg": [(0, 20), (0, 40)],
        "3.jpg": [],
        "4.jpg": [(0, 40)],
    }
    report = bench.report(context)
    assert report["labels"] == {"found": 7, "kept": 6, "dropped": 1}
    assert [finding["code"] for finding in report["findings"] if finding["code"] == "DUPLICATE_BOX"] == ["DUPLICATE_BOX"]


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_a_task_that_changes_shapes_gives_the_same_classes(bench, task):
    version, _ = bench.run(coco([(5, BOX), (9, OTHER)], [(1, BOX)], [(5, BOX)]), task=task)
    assert sorted((row.name, *(label.class_id for label in row.labels)) for row in bench.rows(version)) == [
        ("0.jpg", 0, 1),
        ("1.jpg", 0),
        ("2.jpg", 1),
    ]
    assert all(len(label.points) == (8 if task == "segment" else 0) for row in bench.rows(version) for label in row.labels)
