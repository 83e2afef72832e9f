"""The real Datumaro, in its own environment: formats that nothing here reads, the same labels as ours where both read one, and what it may not do."""

import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.unit.dataset.conftest import Bench, picture, voc, zipped

from visionyard.dataset.converting.datumaro import ConversionLimits, Datumaro
from visionyard.dataset.import_attempt import ImportLimits
from visionyard.dataset.import_job import run_import
from visionyard.kit.artifacts.dataset import read_dataset_version
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import VersionName

PYTHON = Path(os.environ.get("VISIONYARD_DATUMARO_PYTHON") or Path(__file__).parents[3] / ".venv-datumaro" / "bin" / "python")
pytestmark = [
    pytest.mark.datumaro,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment with Datumaro: `make setup-datumaro` makes it (some 560 MB)"),
]
SIZE = (64, 48)


class Through(Bench):
    """Imports against a store in memory, through Datumaro or without it."""

    def version(self, files, limits=None, check=None, **options):
        """The version, its labels by image, and the report."""
        context = self.context(self.spec(zipped(files), **options))
        context.check = check or context.check
        self.last = context
        result = run_import(context, self.uploads, self.limits, datumaro=Datumaro(str(PYTHON), limits))
        context.job.pointers.update(result)
        version = read_dataset_version(self.store, VersionName.parse(result["version"], "datasets"))
        return version, self.labels(version), self.report(context)

    def labels(self, version):
        """By split and image: class, left, top, right, bottom in pixels, and the points in pixels."""
        found = {}
        for row in self.rows(version):
            wide, high = row.width, row.height
            step = 3 if version.task == "pose" else 2
            found[row.split, row.name] = [
                (
                    version.class_names[b.class_id],
                    (b.cx - b.w / 2) * wide,
                    (b.cy - b.h / 2) * high,
                    (b.cx + b.w / 2) * wide,
                    (b.cy + b.h / 2) * high,
                    *(value * (wide, high, 1)[i % step] for i, value in enumerate(b.points)),
                )
                for b in row.labels
            ]
        return found


@pytest.fixture
def through(tmp_path):
    bench = Through(tmp_path / "scratch")
    bench.limits = ImportLimits()
    return bench


def close(labels):
    """Labels that equal others to a hundredth of a pixel, to which Datumaro rounds."""
    return {
        image: [(name, *(pytest.approx(number, abs=0.02) for number in numbers)) for name, *numbers in of] for image, of in labels.items()
    }


def kitti(root="kitti/"):
    files = {}
    for i, (split, kind) in enumerate((("training", "Car"), ("training", "Tram"), ("testing", "Car"))):
        files[f"{root}{split}/image_2/{i:06}.png"] = picture(i, *SIZE, ".png")
        files[f"{root}{split}/label_2/{i:06}.txt"] = f"{kind} 0.00 0 -1.57 {10 + i}.5 5.25 40 30 1.5 1.6 4 1 1 20 0.1\n"
    return files


@pytest.mark.parametrize("root", ["", "kitti/", "deep/down/kitti/"])
def test_kitti(through, root):
    version, labels, report = through.version(kitti(root), datumaro_format="kitti_detection")
    assert (version.task, version.class_names, version.source_format) == ("detect", ("Car", "Tram"), "datumaro:kitti_detection")
    assert {name: of for (_, name), of in labels.items()} == close(
        {
            "000000.png": [("Car", 10.5, 5.25, 40, 30)],
            "000001.png": [("Tram", 11.5, 5.25, 40, 30)],
            "000002.png": [("Car", 12.5, 5.25, 40, 30)],
        }
    )
    assert ("val", "000002.png") in labels  # a test split without a val split is used as val, as everywhere
    assert (report["labels"], report["images"]["kept"]) == ({"found": 3, "kept": 3, "dropped": 0}, 3)
    assert "Datumaro read it as kitti_detection: 3 items" in report["format_reason"]
    assert version.origin["parameters"]["datumaro_format"] == "kitti_detection"
    assert [path.name for path in through.last.scratch.rglob("unpacked*")] == []


def agree(through, files, name, **options):
    """What Datumaro reads, after holding it against what is read here."""
    ours, theirs = (
        through.version(files, dataset="ours", **options),
        through.version(files, dataset="theirs", datumaro_format=name, **options),
    )
    assert theirs[0].task == ours[0].task
    assert sorted(theirs[0].class_names) == sorted(ours[0].class_names)
    assert {image: sorted(of) for image, of in theirs[1].items()} == close({image: sorted(of) for image, of in ours[1].items()})
    assert theirs[2]["labels"]["kept"] == ours[2]["labels"]["kept"] > 0
    return theirs


def test_pascal_voc_is_read_as_here(through):
    files = {}
    for i in range(6):
        files[f"JPEGImages/{i}.jpg"] = picture(i, *SIZE)
        files[f"Annotations/{i}.xml"] = voc(f"{i}.jpg", ("cat", 1 + i, 2, 20, 30.5), *([("dog", 5, 6, 44, 40)] if i % 2 else []))
    files["ImageSets/Main/train.txt"] = "0\n1\n2\n3\n"
    files["ImageSets/Main/val.txt"] = "4\n5\n"
    version, _, _ = agree(through, files, "voc")
    assert [(split.name, split.image_count) for split in version.splits] == [("train", 4), ("val", 2)]


def coco(annotations, **category):
    images = [{"id": i, "file_name": f"{i}.jpg", "width": SIZE[0], "height": SIZE[1]} for i in (1, 2)]
    numbered = [
        {"id": i, "image_id": 1 + i % 2, "category_id": 7, "iscrowd": 0, "area": 100, "bbox": [5, 6, 25, 24], **annotation}
        for i, annotation in enumerate(annotations, start=1)
    ]
    file = {"images": images, "annotations": numbered, "categories": [{"id": 7, "name": "thing", **category}]}
    return {f"images/train/{i}.jpg": picture(i, *SIZE) for i in (1, 2)}, json.dumps(file)


def test_polygons_of_several_parts_and_masks_are_read_as_here(through):
    mask = {"size": [SIZE[1], SIZE[0]], "counts": [10 * SIZE[1] + 5, 20, *[SIZE[1] - 20, 20] * 9, 44 * SIZE[1] + 23]}
    outlines = [
        {"segmentation": [[5, 6, 30, 6, 30, 30]]},
        {"segmentation": [[5, 6, 15, 6, 10, 15], [20, 20, 30, 20, 25, 30]]},
        {"segmentation": mask, "iscrowd": 1},
        {"segmentation": mask, "bbox": [10, 5, 10, 20]},
        {"segmentation": [[7, 8, 29, 9, 28, 27, 9, 26]]},
    ]
    files, text = coco(outlines)
    _, _, report = agree(through, files | {"annotations/instances_train.json": text}, "coco_instances")
    assert report["dropped_by_code"] == {"CROWD_REGION": 1}


def test_keypoints_are_read_as_here(through):
    points = [[6, 7, 2, 20, 9, 1, 0, 0, 0], [8, 8, 2, 9, 20, 2, 28, 29, 2]]
    files, text = coco(
        [{"keypoints": each, "num_keypoints": 3} for each in points], keypoints=["nose", "left_eye", "right_eye"], skeleton=[]
    )
    version, _, _ = agree(through, files | {"annotations/person_keypoints_train.json": text}, "coco_person_keypoints")
    assert (version.keypoints.names, version.keypoints.flip) == (("nose", "left_eye", "right_eye"), (0, 2, 1))


def test_masks_of_a_segmentation_set_become_outlines(through):

    files = {"label_colors.txt": "0 0 0 Void\n64 128 64 Animal\n"}
    for i, split in enumerate(("train", "val")):
        mask = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        mask[10:30, 5:25] = (64, 128, 64)
        files[f"seg/{split}/{i}.png"] = picture(i, *SIZE, ".png")
        files[f"seg/{split}annot/{i}.png"] = cv2.imencode(".png", mask)[1].tobytes()
        files[f"{split}.txt"] = f"/seg/{split}/{i}.png seg/{split}annot/{i}.png\n"
    version, labels, _ = through.version(files, datumaro_format="camvid")
    assert version.task == "segment"
    assert next(of for of in labels["val", "1.png"] if of[0] == "Animal")[1:5] == pytest.approx((5, 10, 25, 30), abs=0.02)


WRITING = """
import sys
import numpy as np
from datumaro.components.annotation import Bbox, Mask
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

def items(masks):
    for i in range(4):
        mask = np.zeros((48, 64), np.uint8)
        mask[6:24, 5 + i:25 + i] = 1
        one = Mask(mask, label=i % 2, id=1, group=1) if masks else Bbox(5 + i, 6, 20, 18, label=i % 2, id=1, group=1)
        picture = Image.from_numpy(np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8))
        yield DatasetItem(f"{i + 1:06}", subset="train" if i < 3 else "val", media=picture, annotations=[one])

for name, masks in (("wider_face", 0), ("mot_seq_gt", 0), ("open_images", 0), ("label_me", 0), ("cityscapes", 1), ("kitti_segmentation", 1)):
    Dataset.from_iterable(list(items(masks)), categories=["cat", "dog"]).export(f"{sys.argv[1]}/{name}", name, save_media=True)
"""


@pytest.fixture(scope="module")
def datumaros_own(tmp_path_factory):
    """Folders that Datumaro wrote of four pictures with a label each, by format."""
    folder = tmp_path_factory.mktemp("own")
    environment = {"PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1", "HOME": str(folder)}
    subprocess.run([PYTHON, "-I", "-W", "ignore", "-c", WRITING, folder], env=environment, check=True, capture_output=True)
    return {
        path.name: {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}
        for path in folder.iterdir()
    }


@pytest.mark.parametrize(
    ("name", "written_as"),
    [
        ("wider_face", "wider_face"),
        ("mot_seq", "mot_seq_gt"),
        ("open_images", "open_images"),
        ("label_me", "label_me"),
        ("cityscapes", "cityscapes"),
        ("kitti_segmentation", "kitti_segmentation"),
    ],
)
def test_what_datumaro_wrote_comes_in_whole(through, datumaros_own, name, written_as):
    version, labels, report = through.version(datumaros_own[written_as], datumaro_format=name)
    assert (version.image_count, report["labels"]["kept"], set(version.class_names)) == (4, 4, {"cat", "dog"})
    boxes = [(kind, *map(round, box[:4])) for of in labels.values() for kind, *box in of]
    assert sorted(boxes) == sorted((("cat", "dog")[i % 2], 5 + i, 6, 25 + i, 24) for i in range(4))
    if name != "mot_seq":  # it has no splits
        assert [(split.name, split.image_count) for split in version.splits] == [("train", 3), ("val", 1)]


def test_rotated_boxes(through):
    files = {}
    for i, split in enumerate(("train", "val")):
        files[f"{split}/images/{i}.png"] = picture(i, *SIZE, ".png")
        files[f"{split}/labelTxt/{i}.txt"] = "imagesource:GoogleEarth\ngsd:0.1\n20.0 10.0 30.0 20.0 20.0 30.0 10.0 20.0 plane 0\n"
    version, labels, _ = through.version(files, datumaro_format="dota")
    assert (version.task, version.class_names) == ("obb", ("plane",))
    [[_, *numbers]] = labels["train", "0.png"]
    corners = {(round(x), round(y)) for x, y in zip(numbers[4::2], numbers[5::2], strict=True)}
    assert corners == {(20, 10), (30, 20), (20, 30), (10, 20)}


def test_classes_of_pictures(through):
    files = {f"{kind}/{kind}_{i}.JPEG": picture(10 * i + len(kind), *SIZE) for kind in ("n01", "n0002") for i in range(4)}
    version, _, report = through.version(files, datumaro_format="imagenet")
    assert (version.task, set(version.class_names), report["labels"]["kept"]) == ("classify", {"n01", "n0002"}, 8)


def test_a_format_that_datumaro_does_not_know_is_refused_with_those_that_it_knows(through):
    with pytest.raises(YardError) as caught:
        through.version(kitti(), datumaro_format="kity")
    assert caught.value.reason is Reason.FORMAT_UNKNOWN
    assert caught.value.message.startswith("Datumaro reads no format 'kity'; was kitti ")
    assert {"cityscapes", "kitti_detection", "yolo"} <= set(caught.value.message.partition(" It reads ")[2].split(", "))
    assert len(caught.value.message) < 1500  # more than 2,000 characters are cut on their way
    assert "cifar" not in caught.value.message  # its files are pickles


@pytest.mark.parametrize(
    "name", ["kitti_detection", "open_images", "coco", "mot_seq", "wider_face", "cityscapes", "datumaro_binary", "cvat"]
)
def test_a_source_that_is_something_else_is_refused_in_a_sentence(through, name):
    files = {"a/readme.txt": "hello", "a/b.jpg": picture(1)}
    with pytest.raises(YardError) as caught:
        through.version(files, datumaro_format=name)
    assert caught.value.reason in {Reason.CONVERSION_FAILED, Reason.NO_LABELS}, caught.value
    assert str(through.scratch) not in caught.value.message
    assert "Traceback" not in caught.value.message
    assert not any(through.last.scratch.rglob("*.jpg"))


def test_a_source_cannot_have_other_files_read(through, tmp_path):
    secret = tmp_path / "secret.names"
    secret.write_text("hidden0\nhidden1\n")
    files = {"obj.data": f"classes = 2\ntrain = train.txt\nnames = {secret}\n", "train.txt": "obj_train_data/1.jpg\nobj_train_data/2.jpg\n"}
    for i in (1, 2):
        files |= {f"obj_train_data/{i}.jpg": picture(i, *SIZE), f"obj_train_data/{i}.txt": "0 0.5 0.5 0.2 0.2\n"}
    read = through.version(
        files | {"obj.data": "classes = 2\ntrain = train.txt\nnames = obj.names\n", "obj.names": "a\nb\n"}, datumaro_format="yolo"
    )
    assert read[0].class_names == ("a",)
    with pytest.raises(YardError) as caught:
        through.version(files, datumaro_format="yolo")
    assert caught.value.reason is Reason.CONVERSION_FAILED
    assert "hidden" not in caught.value.message


def living(scratch):
    """The processes that work for a scratch folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(scratch).encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_limits_of_memory_time_and_length_end_it(through):
    many = kitti() | {
        f"kitti/training/label_2/{i:06}.txt": "Car 0.00 0 -1.57 1 2 40 30 1.5 1.6 4 1 1 20 0.1\n" * 50 for i in range(100, 400)
    }
    for limits, said in (
        (ConversionLimits(memory_bytes=256 << 20), ("memory", "signal", "exit code", "Error")),
        (ConversionLimits(output_bytes=64 << 10), ("File too large",)),
        (ConversionLimits(total_s=0.3), ("took longer than 0.3 s",)),
    ):
        with pytest.raises(YardError) as caught:
            through.version(many, limits, datumaro_format="kitti_detection")
        assert caught.value.reason is Reason.CONVERSION_FAILED
        assert any(word in caught.value.message for word in said), caught.value.message
        assert living(through.last.scratch) == []


def test_a_stop_while_it_reads_leaves_no_process_and_no_file(through):
    class Stopped(Exception):
        pass

    seen = []

    def check():
        if found := living(through.last.scratch):
            seen.extend(found)
            raise Stopped

    with pytest.raises(Stopped):
        through.version(kitti(), check=check, datumaro_format="kitti_detection")
    assert seen
    assert living(through.last.scratch) == []
    assert not any(through.last.scratch.rglob("*.png"))
    assert through.listing() == []
