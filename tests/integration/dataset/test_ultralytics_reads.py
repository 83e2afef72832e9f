"""What is trained is what was labelled: the labels that Ultralytics' own loaders give for a materialised version are those of the source.

The source's labels are either made up here or read by the few lines of this file, never by the program under test.
"""

import hashlib
import json
import math
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from tests.unit.dataset.conftest import Bench, picture, zipped
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import ClassificationDataset, YOLODataset
from ultralytics.data.utils import check_det_dataset

from visionyard.kit.artifacts.materialise import materialise

TOLERANCE = 2e-6
"""Ultralytics keeps shares in single precision."""
CLASSES = ["zebra", "no", "a: b #c", "ключ", "1e3"]


@pytest.fixture
def imported(tmp_path, s3_store):
    """Imports files into a real store and materialises the version; gives it and its folder."""
    bench = Bench(tmp_path / "scratch")
    bench.store = s3_store

    def run(files, folder="cache", **options):
        version, context = bench.run(zipped(files), **options)
        with materialise(s3_store, version, tmp_path / folder, 1 << 30) as made:
            return version, made, bench.report(context)

    return run


def files_below(folder, *parts):
    return {
        str(path.relative_to(folder)): path.read_bytes() for part in parts or ("",) for path in (folder / part).rglob("*") if path.is_file()
    }


# --- what Ultralytics reads


def loaded(folder, task):
    """Class name and numbers of each label, by the sha256 of its image, and each image's split; as the trainer's dataset has them."""
    data = check_det_dataset(str(folder / "data.yaml"), autodownload=False)
    labels, splits = {}, {}
    for split in ("train", "val", "test"):
        if not data.get(split):
            continue
        dataset = YOLODataset(img_path=data[split], data=data, task=task, augment=False, imgsz=64, hyp=get_cfg())
        assert len(dataset.labels) == len(dataset.label_files) == len(list((folder / "images" / split).iterdir()))
        for label in dataset.labels:
            digest = digest_of(Path(label["im_file"]).read_bytes())
            assert label["bbox_format"] == "xywh"
            assert label["normalized"]
            labels[digest] = [
                (data["names"][int(c)], numbers) for c, numbers in zip(label["cls"][:, 0], _numbers(label, task), strict=True)
            ]
            splits[digest] = split
    return labels, splits


def _numbers(label, task):
    if task in {"segment", "obb"}:
        return [points.reshape(-1) for points in label["segments"]]
    if task == "pose":
        return [np.concatenate((box, points.reshape(-1))) for box, points in zip(label["bboxes"], label["keypoints"], strict=True)]
    return list(label["bboxes"])


def assert_same(found, wanted, tolerance=TOLERANCE):
    """Each image's labels are the wanted ones, in any order."""
    assert found.keys() == wanted.keys()
    for digest, labels in wanted.items():
        left = list(found[digest])
        assert len(left) == len(labels), digest
        for name, numbers in labels:
            match = next((i for i, (other, at) in enumerate(left) if other == name and _near(at, numbers, tolerance)), None)
            assert match is not None, (digest, name, numbers, left)
            del left[match]


def _near(found, wanted, tolerance):
    return len(found) == len(wanted) and np.abs(np.asarray(found) - np.asarray(wanted)).max() <= tolerance


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


# --- generated sources


def _box(rng):
    w, h = rng.uniform(0.05, 0.4, 2)
    return [rng.uniform(w / 2, 1 - w / 2), rng.uniform(h / 2, 1 - h / 2), w, h]


def _polygon(rng, corners):
    angles = np.sort(rng.uniform(0, 2 * math.pi, corners))
    centre, radius = rng.uniform(0.3, 0.7, 2), rng.uniform(0.1, 0.29)
    return (centre + radius * np.stack((np.cos(angles), np.sin(angles)), 1)).reshape(-1).tolist()


def _turned(rng):
    (cx, cy), (w, h), angle = rng.uniform(0.35, 0.65, 2), rng.uniform(0.05, 0.3, 2), rng.uniform(0, math.pi)
    c, s = math.cos(angle), math.sin(angle)
    return [v for dx, dy in ((-w, -h), (w, -h), (w, h), (-w, h)) for v in (cx + (dx * c - dy * s) / 2, cy + (dx * s + dy * c) / 2)]


def _keypoints(rng, dimensions):
    points = rng.uniform(0, 1, (3, 2))
    if dimensions == 2:
        return points.reshape(-1).tolist()
    seen = rng.integers(0, 3, 3)
    return np.column_stack((np.where(seen[:, None] > 0, points, 0.0), seen)).reshape(-1).tolist()


MADE = {
    "detect": _box,
    "segment": lambda rng: _polygon(rng, int(rng.integers(3, 40))),
    "obb": _turned,
    "pose": lambda rng: _box(rng) + _keypoints(rng, 3),
    "pose of two dimensions": lambda rng: _box(rng) + _keypoints(rng, 2),
}


def generated(make, seed, extra=""):
    """A YOLO set of 24 images, some of them background, and its labels."""
    rng = np.random.default_rng(seed)
    yaml = f"train: images/train\nval: images/val\ntest: images/test\nnames: {json.dumps(CLASSES, ensure_ascii=False)}\n{extra}"
    files, labels, splits = {"data.yaml": yaml}, {}, {}
    for number in range(24):
        split = ("train", "train", "val", "test")[number % 4]
        data = picture(seed * 1000 + number, 40 + number, 64 - number, suffix=".png" if number % 3 else ".jpg")
        rows = [(int(rng.integers(len(CLASSES))), make(rng)) for _ in range(number % 5)]
        files[f"images/{split}/i{number}.{'png' if number % 3 else 'jpg'}"] = data
        files[f"labels/{split}/i{number}.txt"] = "".join(f"{c} {' '.join(map(repr, map(float, numbers)))}\n" for c, numbers in rows)
        labels[digest_of(data)] = [(CLASSES[c], numbers) for c, numbers in rows]
        splits[digest_of(data)] = split
    return files, labels, splits


@pytest.mark.parametrize("kind", MADE)
def test_generated_labels(imported, kind):
    task = kind.split(maxsplit=1)[0]
    dimensions = 2 if "two" in kind else 3
    extra = f"kpt_shape: [3, {dimensions}]\nflip_idx: [0, 2, 1]\n" if task == "pose" else ""
    files, wanted, splits = generated(MADE[kind], 5, extra)
    version, folder, report = imported(files)
    assert version.task == task
    assert report["labels"]["dropped"] == 0
    found, found_splits = loaded(folder, task)
    if dimensions == 2:  # Ultralytics adds a visibility of one
        wanted = {
            d: [(n, [*v[:4], *(x for i in range(4, 10, 2) for x in (*v[i : i + 2], 1.0))]) for n, v in rows] for d, rows in wanted.items()
        }
    assert_same(found, wanted)
    assert found_splits == splits


@pytest.mark.parametrize("format_", ["voc", "createml", "via"])
def test_the_same_boxes_from_formats_in_pixels(imported, format_):
    rng = np.random.default_rng(3)
    files, wanted = {}, {}
    for number in range(12):
        width, height = 50 + number, 90 - number
        data = picture(300 + number, width, height)
        files[f"{'train' if number % 3 else 'val'}/i{number}.jpg"] = data
        boxes = [(CLASSES[int(rng.integers(len(CLASSES)))], _box(rng)) for _ in range(1 + number % 3)]
        wanted[digest_of(data)] = boxes
        in_pixels = [
            (n, ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)) for n, (x, y, w, h) in boxes
        ]
        files |= WRITERS[format_](f"{'train' if number % 3 else 'val'}/i{number}", in_pixels)
    version, folder, report = imported(files)
    assert (version.task, report["format"], report["labels"]["dropped"]) == ("detect", format_, 0)
    assert_same(loaded(folder, "detect")[0], wanted)


def _voc(path, boxes):
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = path.rpartition("/")[2] + ".jpg"
    for name, corners in boxes:
        item = ET.SubElement(root, "object")
        ET.SubElement(item, "name").text = name
        box = ET.SubElement(item, "bndbox")
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
            ET.SubElement(box, key).text = repr(float(value))
    return {f"{path}.xml": ET.tostring(root)}


def _createml(path, boxes):
    labels = [
        {"label": name, "coordinates": {"x": (a + c) / 2, "y": (b + d) / 2, "width": c - a, "height": d - b}}
        for name, (a, b, c, d) in boxes
    ]
    return {f"{path}.json": json.dumps([{"image": path.rpartition("/")[2] + ".jpg", "annotations": labels}])}


def _via(path, boxes):
    regions = [
        {"shape_attributes": {"name": "rect", "x": a, "y": b, "width": c - a, "height": d - b}, "region_attributes": {"class": name}}
        for name, (a, b, c, d) in boxes
    ]
    return {f"{path}.json": json.dumps({"k": {"filename": path.rpartition("/")[2] + ".jpg", "size": 1, "regions": regions}})}


WRITERS = {"voc": _voc, "createml": _createml, "via": _via}


@pytest.mark.parametrize("task", ["", "detect"])
def test_polygons_that_share_a_class_and_a_box(imported, task):
    """To Ultralytics they are two labels of segmentation, but for detection one box said twice."""
    data = {"train": picture(1), "val": picture(2)}
    rows = [[0.2, 0.2, 0.8, 0.2, 0.2, 0.8], [0.8, 0.8, 0.8, 0.2, 0.2, 0.8]]
    text = "".join(f"0 {' '.join(map(str, row))}\n" for row in rows)
    files = (
        {"classes.txt": "x\n"}
        | {f"images/{split}/a.jpg": each for split, each in data.items()}
        | {f"labels/{split}/a.txt": text for split in data}
    )
    version, folder, report = imported(files, task=task)
    assert version.task == (task or "segment")
    assert report["labels"] == {"found": 4, "kept": 2 if task else 4, "dropped": 2 if task else 0}
    assert report["dropped_by_code"] == ({"DUPLICATE_BOX": 2} if task else {})
    wanted = [("x", [0.5, 0.5, 0.6, 0.6])] if task else [("x", row) for row in rows]
    assert_same(loaded(folder, version.task)[0], {digest_of(each): wanted for each in data.values()})


# --- real sources


def yolo_rows(text, names):
    return [(names[int(row.split()[0])], [float(value) for value in row.split()[1:]]) for row in text.splitlines() if row.strip()]


def yolo_source(folder, names, images="images", labels="labels"):
    """The labels of a YOLO set by image."""
    wanted = {}
    for path in (path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"}):
        text = folder / str(path.relative_to(folder)).replace(images, labels, 1).replace(path.suffix, ".txt")
        wanted[digest_of(path.read_bytes())] = yolo_rows(text.read_text(), names) if text.exists() else []
    return wanted


def test_coco128(imported, test_data):
    folder = test_data / "coco128"
    names = [line.partition(":")[2].strip() for line in (folder / "config.yaml").read_text().splitlines() if line.startswith("  ")]
    version, made, _ = imported(files_below(folder, "images", "labels") | {"config.yaml": (folder / "config.yaml").read_bytes()})
    files = {str(path.relative_to(folder)) for path in (folder / "images").rglob("*.jpg")}
    assert (version.image_count, len(files)) == (128, 128)
    assert_same(loaded(made, "detect")[0], yolo_source(folder, names))


def test_cones(imported, test_data):
    folder = test_data / "yolo_cones_roboflow160"
    _, made, _ = imported(files_below(folder))
    found, splits = loaded(made, "detect")
    wanted = yolo_source(folder, ["cone", "cube"])
    assert sum(map(len, wanted.values())) == 374
    assert_same(found, wanted)
    assert sorted(splits.values()).count("train") == 120


def test_combat(imported, test_data):
    folder = test_data / "labelstudio_yolo_combat50"
    wanted = yolo_source(folder, (folder / "classes.txt").read_text().split("\n"))
    assert sum(map(len, wanted.values())) == 89
    assert_same(loaded(imported(files_below(folder))[1], "detect")[0], wanted)


def test_blood_cells(imported, test_data):
    folder = test_data / "voc_bccd/BCCD"
    wanted, without_area = {}, 0
    for path in (folder / "JPEGImages").iterdir():
        root, labels = ET.parse(folder / "Annotations" / f"{path.stem}.xml").getroot(), []
        for item in root.iter("object"):
            a, b, c, d = (float(item.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
            if c <= a or d <= b:
                without_area += 1
                continue
            a, b, c, d = max(a, 0) / 640, max(b, 0) / 480, min(c, 640) / 640, min(d, 480) / 480
            labels.append((item.findtext("name"), [(a + c) / 2, (b + d) / 2, c - a, d - b]))
        wanted[digest_of(path.read_bytes())] = labels
    assert (sum(map(len, wanted.values())), without_area) == (4886, 2)
    assert_same(loaded(imported(files_below(folder.parent))[1], "detect")[0], wanted)


def test_coco128_as_coco(imported, test_data):
    folder = test_data / "coco128"
    document = json.loads((folder / "annotations/instances_train2017.json").read_text())
    names = {category["id"]: category["name"] for category in document["categories"]}
    pictures = {image["id"]: image for image in document["images"]}
    wanted = {digest_of((folder / "images/train2017" / image["file_name"]).read_bytes()): [] for image in pictures.values()}
    for annotation in document["annotations"]:
        if not annotation["iscrowd"]:
            image = pictures[annotation["image_id"]]
            x, y, w, h = annotation["bbox"]
            numbers = [(x + w / 2) / image["width"], (y + h / 2) / image["height"], w / image["width"], h / image["height"]]
            path = folder / "images/train2017" / image["file_name"]
            wanted[digest_of(path.read_bytes())].append((names[annotation["category_id"]], numbers))
    assert sum(map(len, wanted.values())) == 929
    _version, made, report = imported(files_below(folder), format="coco", task="detect")
    assert report["dropped_by_code"] == {"CROWD_REGION": 10}
    assert_same(loaded(made, "detect")[0], wanted)


def test_labelme_polygons(imported, test_data):
    """A group's polygons are one object, which begins where one of them does; the others are found whole in it."""
    folder = test_data / "labelme_examples/instance_segmentation/data_annotated"
    _, made, _ = imported(files_below(folder))
    found, _ = loaded(made, "segment")
    assert len(found) == 3
    for path in folder.glob("*.json"):
        document, objects = json.loads(path.read_text()), {}
        for number, shape in enumerate(document["shapes"]):
            if shape["label"] != "__ignore__":
                group = shape["group_id"]
                key = (shape["label"], number, "alone") if group is None else (shape["label"], group, "group")
                objects.setdefault(key, []).append(np.asarray(shape["points"]) / (document["imageWidth"], document["imageHeight"]))
        labels = list(found[digest_of((folder / document["imagePath"]).read_bytes())])
        assert len(labels) == len(objects)
        for (name, *_), parts in objects.items():
            match = next(i for i, (other, numbers) in enumerate(labels) if other == name and _holds(numbers.reshape(-1, 2), parts))
            del labels[match]


def _holds(outline, parts):
    """Whether each corner of each part is one of an outline's, and it has no others."""
    corners = np.clip(np.concatenate(parts), 0, 1)  # one reaches half a pixel beyond the picture
    distances = np.abs(outline[:, None] - corners[None]).max(axis=2)
    return distances.min(axis=0).max() <= TOLERANCE and distances.min(axis=1).max() <= TOLERANCE


# --- classification


def classified(folder):
    """The class name that Ultralytics' loader gives each image, by sha256, with its split."""
    found = {}
    for split in (path for path in folder.iterdir() if path.is_dir()):
        dataset = ClassificationDataset(str(split), get_cfg(overrides={"imgsz": 64}), prefix=split.name)
        for path, class_id, *_ in dataset.samples:
            found[digest_of(Path(path).read_bytes())] = split.name, dataset.base.classes[class_id]
    return found


def test_generated_classes(imported):
    names = ["b", "A", "10", "9", "ä ö", "c.d"]
    files, wanted = {}, {}
    for number in range(36):
        split, name = ("train", "train", "val")[number % 3], names[number // 3 % 6]
        data = picture(number)
        files[f"set/{split}/{name}/{number}.jpg"] = data
        wanted[digest_of(data)] = split, name
    version, folder, _ = imported(files)
    assert version.class_names == tuple(sorted(names))
    assert classified(folder) == wanted
    # The id that Ultralytics trains is the version's.
    assert ClassificationDataset(str(folder / "train"), get_cfg(overrides={"imgsz": 64})).base.classes == sorted(names)


def test_flowers(imported, test_data):
    folder = test_data / "cls_flowers5"
    wanted = {digest_of(path.read_bytes()): path.relative_to(folder).parts[:2] for path in folder.rglob("*.jpg")}
    version, made, _ = imported(files_below(folder))
    assert (version.task, len(wanted)) == ("classify", 150)
    assert classified(made) == wanted
