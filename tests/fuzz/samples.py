"""Small sources of each label format, made here, each the content of files by path; images have no bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

Files = dict[str, Any]
_A, _B = {"a.jpg": b""}, {"a.jpg": b"", "b.jpg": b""}
_IMAGES = {"images/train/a.jpg": b"", "images/train/b.jpg": b"", "images/val/c.png": b""}

YAML = "path: ../set\ntrain: images/train\nval: images/val\nnames:\n  0: ant\n  1: bee\n"
ROWS = "0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.3 0.1 0.2 0.4\n0 .1 .1 .3 .1 .3 .4 .1 .4\n"
_LABELS = {"labels/train/a.txt": ROWS, "labels/val/c.txt": "1 0.5 0.5 0.1 0.1\n", "labels/train/orphan.txt": "0 0.5 0.5 0.1 0.1\n"}


def yolo() -> Iterator[Files]:
    """YOLO: a data.yaml, keypoints, a list of classes, Roboflow's folders."""
    yield {"data.yaml": YAML, **_IMAGES, **_LABELS}
    pose = YAML + "kpt_shape: [2, 3]\nflip_idx: [1, 0]\n"
    yield {"data.yaml": pose, **_IMAGES, "labels/train/a.txt": "0 0.5 0.5 0.2 0.2 0.4 0.4 2 0.6 0.6 1\n"}
    yield {"classes.txt": "ant\nbee\n", "notes.json": '{"categories": [{"id": 0, "name": "ant"}]}', **_A, "a.txt": ROWS}
    roboflow = "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['ant', 'bee']\n"
    yield {"data.yaml": roboflow, "train/images/a.jpg": b"", "train/labels/a.txt": ROWS, "valid/images/b.jpg": b""}


def voc() -> Iterator[Files]:
    """Pascal VOC, flat and as a devkit."""
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40.5</ymax></bndbox>"
    thing = f"<object><name>ant</name><pose>Left</pose><difficult>1</difficult>{box}<part><name>leg</name>{box}</part></object>"
    head = "<folder>x</folder><filename>a.jpg</filename><size><width>200</width><height>100</height><depth>3</depth></size>"
    text = f"<annotation>\n{head}\n{thing}\n<object><name>bee</name>{box}</object></annotation>"
    yield {**_B, "a.xml": text, "labelmap.txt": "# label:color_rgb:parts:actions\nant:1,2,3::\nbee:::\n"}
    kit = {"JPEGImages/a.jpg": b"", "JPEGImages/b.jpg": b"", "Annotations/a.xml": text, "Annotations/b.xml": text}
    yield {**kit, "ImageSets/Main/train.txt": "a\n", "ImageSets/Main/val.txt": "b 1\nc -1\n", "Annotations/c.xml": text}


def coco_document() -> dict[str, Any]:
    """A COCO file with a label of each kind."""
    images = [{"id": 7, "file_name": "a.jpg", "width": 200, "height": 100}, {"id": 9, "file_name": "b.jpg", "width": 200, "height": 100}]
    base = {"image_id": 7, "category_id": 3, "iscrowd": 0, "area": 200.0}
    annotations = [
        {**base, "id": 1, "bbox": [10, 10, 20, 10]},
        {**base, "id": 2, "bbox": [10, 10, 20, 10], "segmentation": [[10, 10, 30, 10, 30, 20], [50, 50, 60, 50, 60, 60]]},
        {**base, "id": 3, "bbox": [0, 0, 9, 9], "segmentation": {"size": [100, 200], "counts": [5, 3, 97, 3, 19892]}},
        {**base, "id": 4, "bbox": [0, 0, 9, 9], "segmentation": {"size": [100, 200], "counts": "n24h27N20000"}, "image_id": 9},
        {**base, "id": 5, "bbox": [1, 1, 5, 5], "keypoints": [2, 2, 2, 4, 4, 1], "num_keypoints": 2, "category_id": 5},
        {**base, "id": 6, "bbox": [1, 1, 5, 5], "iscrowd": 1},
        {**base, "id": 7, "bbox": [1, 1, 50, 20], "attributes": {"rotation": 20.0}, "score": 0.5},
        {**base, "id": 8, "segmentation": {"size": [9, 9], "counts": "5g0"}},
        {**base, "id": 9, "segmentation": {"size": [3, 3], "counts": [0, 3, 1, 1, 1, 3]}},
    ]
    categories = [{"id": 3, "name": "ant"}, {"id": 5, "name": "bee", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def _coco() -> Iterator[Files]:
    document = coco_document()
    yield {**_B, "annotations/instances_train2017.json": json.dumps(document)}
    boxes = {**document, "annotations": [annotation for annotation in document["annotations"] if annotation["id"] in {1, 6}]}
    yield {"train/a.jpg": b"", "val/b.jpg": b"", "train/_annotations.coco.json": json.dumps(boxes, indent=1)}
    yield {**_B, "a.json": json.dumps(dict(reversed(document.items())))}


def cvat() -> Iterator[Files]:
    """CVAT's images and tracks."""
    labels = "<labels><label><name>ant</name><attributes></attributes></label><label><name>bee</name><type>skeleton</type></label></labels>"
    shapes = (
        '<box label="ant" occluded="0" xtl="10" ytl="20" xbr="50" ybr="40.5" rotation="30" z_order="0"><attribute name="x">y</attribute></box>'
        '<polygon label="ant" points="1,2;30,2;30,40.5" z_order="0"/><polyline label="ant" points="1,2;3,4"/><points label="bee" points="1,2;3,4"/>'
        '<ellipse label="ant" cx="50" cy="50" rx="20" ry="10"/><mask label="ant" rle="2, 3, 1" left="5" top="6" width="3" height="2"/>'
        '<skeleton label="bee"><points label="nose" outside="0" occluded="0" points="5,6"/><points label="tail" outside="1" points="7,8"/></skeleton><tag label="ant"/>'
    )
    images = f'<image id="0" name="a.jpg" width="200" height="100" subset="Train">\n{shapes}\n</image><image id="1" name="b.jpg" width="200" height="100"/>'
    yield {
        **_B,
        "annotations.xml": f"<?xml version='1.0'?>\n<annotations><version>1.1</version><meta><task>{labels}</task></meta>\n{images}</annotations>",
    }
    on = '<box frame="0" outside="0" keyframe="1" xtl="10" ytl="20" xbr="50" ybr="40"></box><box frame="1" outside="1" keyframe="1" xtl="1" ytl="2" xbr="5" ybr="4"/>'
    track = f'<track id="0" label="ant" source="manual">{on}</track>'
    size = "<original_size><width>200</width><height>100</height></original_size>"
    text = f"<annotations><version>1.1</version><meta><task>{labels}{size}</task></meta>{track}</annotations>"
    yield {"images/frame_000000.PNG": b"", "images/frame_000001.PNG": b"", "annotations.xml": text}


def _labelme() -> Iterator[Files]:
    kinds = (
        ("rectangle", [[10, 20], [50, 40]]), ("polygon", [[1, 2], [30, 2], [30, 40.5]]), ("circle", [[50, 50], [60, 50]]), ("line", [[1, 2], [3, 4]]),
        ("point", [[5, 5]]), ("linestrip", [[1, 1], [2, 2]]), ("oriented_rectangle", [[1, 1], [30, 1], [30, 20], [1, 20]]),
    )  # fmt: skip
    shapes = [{"label": "ant", "points": points, "group_id": None, "shape_type": kind, "flags": {}} for kind, points in kinds]
    mask = cv2.imencode(".png", np.ones((3, 4), np.uint8) * 255)[1].tobytes()
    shapes.append({"label": "bee", "points": [[5, 5], [8, 7]], "shape_type": "mask", "mask": base64.b64encode(mask).decode(), "flags": {}})
    shapes += [{"label": "bee", "points": [[1, 1], [4, 4 + i]], "group_id": 1, "shape_type": "rectangle"} for i in range(2)]
    document = {
        "version": "5.0.1",
        "flags": {"day": True},
        "shapes": shapes,
        "imagePath": "a.jpg",
        "imageData": None,
        "imageHeight": 100,
        "imageWidth": 200,
    }
    yield {**_B, "a.json": json.dumps(document, indent=1), "b.json": json.dumps({**document, "shapes": [], "imagePath": "..\\b.jpg"})}
    yield {
        **_A,
        "a.json": json.dumps({**document, "shapes": []}),
        "c.json": json.dumps({**document, "imagePath": "c.jpg", "imageData": "AAAA"}),
    }


def labelme3() -> Iterator[Files]:
    """LabelMe 3.0's polygons, boxes, masks."""
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((10, 20), (50, 20), (50, 40.5)))
    marks = "<deleted>0</deleted><verified>0</verified><parts><hasparts>1</hasparts><ispartof></ispartof></parts><attributes>rotation=30</attributes>"
    polygon = f"<object><name>ant</name>{marks}<polygon><username>me</username>{points}</polygon></object>"
    box = f"<object><name>bee</name>{marks}<type>bounding_box</type><polygon>{points}<pt><x>10</x><y>40</y></pt></polygon></object>"
    segm = "<object><name>ant</name><deleted>1</deleted><segm><mask>m.png</mask><box><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></box></segm></object>"
    head = "<filename>a.jpg</filename><folder>x</folder><source><sourceImage>y</sourceImage></source><imagesize><nrows>100</nrows><ncols>200</ncols></imagesize>"
    yield {**_B, "a.xml": f"<annotation>{head}\n{polygon}\n{box}\n{segm}</annotation>"}


def _label_studio() -> Iterator[Files]:
    size = {"original_width": 200, "original_height": 100, "image_rotation": 0, "from_name": "l", "to_name": "image"}
    box = {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 20}
    result = [
        {"id": "r1", "type": "rectanglelabels", "value": {**box, "rectanglelabels": ["ant"]}, **size},
        {"id": "r2", "type": "polygonlabels", "value": {"points": [[1, 2], [30, 2], [30, 40]], "closed": True, "polygonlabels": ["ant"]}, **size},
        {"id": "r3", "type": "keypointlabels", "value": {"x": 5, "y": 6, "width": 1, "keypointlabels": ["nose"]}, "parentID": "r1", **size},
        {"id": "r4", "type": "ellipselabels", "value": {"x": 50, "y": 50, "radiusX": 5, "radiusY": 6, "rotation": 0, "ellipselabels": ["bee"]}, **size},
        {"id": "r5", "type": "brushlabels", "value": {"format": "rle", "rle": [0, 1, 2], "brushlabels": ["bee"]}, **size},
        {"id": "r6", "type": "choices", "value": {"choices": ["ant"]}, **size},
        {"id": "r7", "type": "rectangle", "value": box, **size},
        {"id": "r7", "type": "labels", "value": {**box, "labels": ["ant"]}, **size},
    ]  # fmt: skip
    config = (
        '<View><Image name="image" value="$image"/><RectangleLabels name="l" toName="image"><Label value="ant"/><Label value="bee"/></RectangleLabels>'
        '<KeyPointLabels name="kp" toName="image"><Label value="nose" model_index="0"/></KeyPointLabels></View>'
    )
    one = {
        "id": 1,
        "data": {"image": "/data/upload/1/01234567-a.jpg"},
        "annotations": [{"id": 3, "was_cancelled": False, "ground_truth": True, "result": result[:3]}],
    }
    two = {
        "id": 2,
        "data": {"image": "/data/local-files/?d=b.jpg"},
        "annotations": [],
        "predictions": [{"score": 0.5, "result": result[3:]}],
    }
    yield {**_B, "export.json": json.dumps([one, two])}
    yield {**_B, "project.json": json.dumps([one]), "config.xml": config}
    minimal = {"image": "a.jpg", "id": 1, "label": [{**box, "rectanglelabels": ["ant"], "original_width": 200, "original_height": 100}]}
    yield {**_B, "min.json": json.dumps([minimal]), "result.jsonl": json.dumps(one)}


def _createml() -> Iterator[Files]:
    box = {"label": "ant", "coordinates": {"x": 50, "y": 40, "width": 20, "height": 10}}
    yield {
        **_B,
        "_annotations.createml.json": json.dumps(
            [{"image": "a.jpg", "annotations": [box, box]}, {"imagefilename": "b.jpg", "annotation": []}]
        ),
    }
    yield {**_B, "a.json": json.dumps([{"image": "c.jpg", "verified": True, "annotations": [box]}])}


def _via() -> Iterator[Files]:
    shapes = (
        {"name": "rect", "x": 20, "y": 10, "width": 40, "height": 30}, {"name": "polygon", "all_points_x": [0, 20, 10], "all_points_y": [0, 0, 10]},
        {"name": "circle", "cx": 50, "cy": 50, "r": 9.5}, {"name": "ellipse", "cx": 50, "cy": 50, "rx": 9, "ry": 5, "theta": 0.5},
        {"name": "point", "cx": 5, "cy": 5}, {"name": "polyline", "all_points_x": [0, 20], "all_points_y": [0, 0]},
    )  # fmt: skip
    regions = [{"shape_attributes": shape, "region_attributes": {"class": "ant", "many": {"x": True}}} for shape in shapes]
    entry = {"filename": "a.jpg", "size": 7, "regions": regions, "file_attributes": {}}
    old = {"fileref": "", "filename": "b.jpg", "size": 7, "base64_img_data": "", "file_attributes": {}, "regions": {"0": regions[0]}}
    yield {**_B, "via_region_data.json": json.dumps({"a.jpg7": entry, "b.jpg7": old})}
    attributes = {"class": {"type": "dropdown", "options": {"ant": "", "bee": ""}, "default_options": {}}}
    project = {"_via_settings": {}, "_via_img_metadata": {"a.jpg7": entry}, "_via_attributes": {"region": attributes, "file": {}}}
    yield {**_B, "project.json": json.dumps(project)}
    table = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    for at, region in enumerate(regions[:2]):
        cells = (json.dumps(region[key]).replace('"', '""') for key in ("shape_attributes", "region_attributes"))
        table += 'a.jpg,7,"{}",2,' + str(at) + "".join(f',"{cell}"' for cell in cells) + "\n"
    yield {**_B, "via.csv": table + 'b.jpg,7,"{}",0,0,"{}","{}"\n'}


def _predictions() -> Iterator[Files]:
    found = [{"class_id": 9, "class_name": "ant", "confidence": 0.5, "box": {"x1": 1, "y1": 2, "x2": 30.5, "y2": 40}}]
    line = {"image": "x/a.jpg", "prediction": {"detection": {"detections": found}, "image_width_px": 200, "image_height_px": 100}}
    error = {"image": "b.jpg", "error": {"code": "NOT_FOUND", "message": "cannot read it"}}
    yield {**_B, "p.jsonl": "".join(json.dumps(each) + "\n" for each in (line, error, line, {**line, "image": "c.jpg"}))}


def _folders() -> Iterator[Files]:
    yield {f"{split}/{name}/{i}.jpg": b"" for split in ("train", "val") for name in ("ant", "bee") for i in range(2)}
    yield {f"flowers/{name}/{i}.jpg": b"" for name in ("ant", "bee", "cat") for i in range(2)}


FORMATS: dict[str, tuple[Callable[[], Iterator[Files]], tuple[str, ...]]] = {
    "yolo": (yolo, ("formats_2label/yolo", "formats_2label/phones")),
    "voc": (voc, ("formats_2label/labelImg", "formats_2label/voc1.1")),
    "coco": (_coco, ("formats_2label/coco1.0", "labelstudio_sdk_testdata/test_export_coco")),
    "cvat": (cvat, ("formats_2label/cvat1.1",)),
    "labelme": (_labelme, ("labelme_examples/primitives", "labelme_examples/bbox_detection", "labelme_examples/classification")),
    "labelme3": (labelme3, ("formats_2label/labelme3.0",)),
    "labelstudio": (_label_studio, ("labelstudio_sdk_testdata/test_export_yolo",)),
    "createml": (_createml, ("formats_2label/CreateML",)),
    "via": (_via, ("formats_2label/via",)),
    "predictions": (_predictions, ()),
    "folders": (_folders, ()),
}
"""By format: what is made here, and folders of the test data that hold it."""


def split_lists() -> Iterator[Files]:
    """A data.yaml that names lists of images."""
    yaml = "path: /home/me/set\ntrain: [train.txt, images/train]\nval: ./lists/val.txt\ntest: C:\\sets\\test\nnames: [ant, bee]\n"
    lists = {
        "train.txt": "./images/train/a.jpg\n/home/me/set/images/train/b.jpg\nC:\\x\\images\\val\\c.png\n",
        "lists/val.txt": "../images/val/c.png\nnope.jpg\n",
    }
    yield {"data.yaml": yaml, **lists, **_IMAGES, **_LABELS}
    yield (
        {"x/y/set.yml": yaml.replace("/home/me/set", "../.."), **lists, **{f"x/{path}": data for path, data in (_IMAGES | _LABELS).items()}}
    )


def voc_lists() -> Iterator[Files]:
    """Lists of VOC's ImageSets, of two years."""
    xml = "<annotation><size><width>9</width><height>9</height></size><object><name>ant</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"
    files: dict[str, Any] = {}
    for year in ("VOC2007", "VOC2012"):
        for name in ("a", "b c", "d.e"):
            files |= {f"{year}/JPEGImages/{name}.jpg": b"", f"{year}/Annotations/{name}.xml": xml}
        files |= {
            f"{year}/ImageSets/Main/trainval.txt": "a\nb c 1\n",
            f"{year}/ImageSets/Main/test.txt": "d.e\na -1\nnope\n",
            f"{year}/ImageSets/Main/val.txt": "JPEGImages/a.jpg\n",
        }
    yield files


def darknet() -> Iterator[Files]:
    """Darknet's obj.data with its lists."""
    data = "classes = 2\ntrain = data/train.txt\nvalid=data/valid.txt # a word\nnames = data/obj.names\nbackup = backup/\n"
    lists = {
        "train.txt": "data/obj_train_data/a.jpg\ndata/obj_train_data/b.jpg\n",
        "valid.txt": "obj_train_data/c.jpg\n",
        "obj.names": "ant\nbee\n\n",
    }
    yield {"obj.data": data, **lists, **{f"obj_train_data/{n}.jpg": b"" for n in "abc"}, "obj_train_data/a.txt": ROWS}
