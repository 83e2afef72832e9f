"""labelme's JSON made for tests, and what the reader makes of it."""

import base64
import json

import cv2
import numpy as np
from labellings import read_all

from visionyard.dataset.formats.detect import read_source

BOX = [[10, 20], [50, 40]]
TRIANGLE = [[10, 20], [50, 20], [30, 40]]


def shape(points=BOX, label="ant", kind="rectangle", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def labelme(*shapes, image="a.jpg", flags=None, size=(200, 100), **more):
    document = {"version": "5.2.1", "flags": flags or {}, "shapes": list(shapes), "imagePath": image, "imageData": None}
    return json.dumps({**document, "imageHeight": size[1], "imageWidth": size[0], **more})


def read(plant, *shapes, **more):
    source = read_source(plant({"a.jpg": b"", "a.json": labelme(*shapes, **more)}), "")
    return source, read_all(source)


def mask(rows):
    picture = np.array([[int(c) for c in row] for row in rows], np.uint8)
    return base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()
