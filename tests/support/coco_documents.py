"""COCO documents made for tests, and what a reader makes of them."""

import json
from collections import Counter

from visionyard.dataset.formats.detect import read_source

SIZE = (100, 50)


def annotation(image=1, category=1, bbox=(10, 10, 20, 10), number=1, **more):
    made = {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": bbox if bbox is ... else list(bbox),
        "area": 1,
        "iscrowd": 0,
        **more,
    }
    return {key: value for key, value in made.items() if value is not ...}


def image(number=1, name="a.jpg", size=SIZE, **more):
    return {"id": number, "file_name": name, "width": size[0], "height": size[1], **more}


ONE_IMAGE = (image(),)


def document(annotations, pictures=ONE_IMAGE, categories=({"id": 1, "name": "x"},), **more):
    return {"info": {}, "licenses": [], "images": list(pictures), "annotations": list(annotations), "categories": list(categories), **more}


def source_of(plant, *annotations, tree=None, **parts):
    files = {"images/a.jpg": b"", "a.json": json.dumps(document(annotations, **parts))}
    return read_source(plant(files | (tree or {})), "coco")


def rows_of(source, size=SIZE):
    """The rows of the only image."""
    (only,) = source.images
    return list(source.rows(only.labels, *size))


def row_of(plant, found, **parts):
    (row,) = rows_of(source_of(plant, found, **parts))
    return row


def notes(source):
    return Counter(code.name for code, *_ in source.notes.items)


# --- keypoints

FACE = ("nose", "left_eye", "right_eye")
