"""Label Studio's tasks made for tests, and what a reader makes of them."""

import json
import math
from collections import Counter

SIZE = {"original_width": 64, "original_height": 48, "image_rotation": 0}
CONFIG = """<View><Image name="image" value="$picture"/>
<RectangleLabels name="box" toName="image"><Label value="zebra"/><Label value="ant"/></RectangleLabels>
<KeyPointLabels name="kp" toName="image"><Label value="tail" model_index="1"/><Label value="nose" model_index="0"/></KeyPointLabels></View>"""


def box(*names, x=25, y=25, width=50, height=50, rotation=0, **more):
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation, "rectanglelabels": list(names)}
    return {"type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": value, **SIZE, **more}


def point(name, x, y, **more):
    value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [name]}
    return {"type": "keypointlabels", "from_name": "kp", "to_name": "image", "value": value, **SIZE, **more}


def region(type_, **more):
    value = {key: more.pop(key) for key in list(more) if key not in {"id", "to_name", "from_name", *SIZE}}
    return {"type": type_, "from_name": "any", "to_name": "image", "value": value, **SIZE, **more}


def choice(*names, **more):
    return {"type": "choices", "from_name": "kind", "to_name": "image", "value": {"choices": list(names)}, **more}


def task(*items, image="a.jpg", **more):
    return {"data": {"image": image}, "annotations": [{"result": list(items)}], **more}


def export(*tasks):
    return json.dumps(list(tasks))


def rows(source, images=None):
    """The labels of the images (or of the list given), in their order."""
    listed = images if images is not None else source.images
    return [row for image in listed if image.labels for row in source.rows(image.labels, 64, 48)]


def codes(source):
    return Counter(code.name for code, *_ in source.notes.items)


def near(values, wanted):
    return len(values) == len(wanted) and all(math.isclose(a, b, abs_tol=1e-12) for a, b in zip(values, wanted, strict=True))
