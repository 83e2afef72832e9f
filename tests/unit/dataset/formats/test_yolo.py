"""YOLO beyond boxes: polygons, rotated boxes, keypoints; Darknet's obj.data; classes in other files; sources that hold more than YOLO."""

import pytest
from labellings import codes, named, read_all
from tests.unit.dataset.conftest import BOX, images, labels, picture, voc, zipped

from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.shapes import Shape
from visionyard.kit.errors import Reason, YardError

PATHS = {"images/train/a.jpg": b"", "images/val/b.jpg": b""}
YAML = "train: images/train\nval: images/val\nnames: [x, y]\n"
POLYGON = "1 0.1 0.1 0.5 0.1 0.3 0.6\n"
QUAD = "1 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6\n"


def source_of(plant, yaml, rows, **files):
    texts = {"data.yaml": yaml, "labels/train/a.txt": rows, "labels/val/b.txt": rows}
    return read_source(plant({**PATHS, **texts, **files}), "")


def imported(bench, yaml, rows, **options):
    """The version of a set of two images with these label rows each, and its report."""
    files = {**images(*PATHS), "data.yaml": yaml, "labels/train/a.txt": rows, "labels/val/b.txt": rows}
    version, context = bench.run(zipped(files), **options)
    return version, bench.report(context)


# --- shapes


def test_polygons_keep_their_corners(plant):
    [row] = read_all(source_of(plant, YAML, POLYGON)).kept["images/train/a.jpg"]
    assert (row.shape, row.points, row.class_id) == (Shape.POLYGON, (0.1, 0.1, 0.5, 0.1, 0.3, 0.6), 1)
    assert (row.cx, row.cy, row.w, row.h) == pytest.approx((0.3, 0.35, 0.4, 0.5))


@pytest.mark.parametrize(
    ("rows", "task"),
    [
        (BOX, "detect"),
        (POLYGON, "segment"),
        (POLYGON + QUAD, "segment"),
        (QUAD, "obb"),
        (BOX + POLYGON, "detect"),
        (BOX + QUAD, "detect"),
    ],
)
def test_the_rows_tell_the_task(bench, rows, task):
    version, report = imported(bench, YAML, rows)
    assert version.task == task
    assert report["labels"]["dropped"] == 0
    points = {len(label.points) for row in bench.rows(version) for label in row.labels}
    assert points == {"detect": {0}, "segment": {len(row.split()) - 1 for row in rows.splitlines()}, "obb": {8}}[task]


@pytest.mark.parametrize(("shape", "point"), [("[2, 3]", "0.4 0.4 2 0 0 0"), ("[2, 2]", "0.4 0.4 0.5 0.5")])
def test_keypoints_are_read_where_the_yaml_declares_them(bench, shape, point):
    version, report = imported(bench, f"{YAML}kpt_shape: {shape}\nflip_idx: [1, 0]\n", f"0 0.5 0.5 0.2 0.2 {point}\n")
    dimensions = int(shape[4])
    assert (version.task, version.keypoints.count, version.keypoints.dimensions, version.keypoints.flip) == ("pose", 2, dimensions, (1, 0))
    assert [label.points for row in bench.rows(version) for label in row.labels] == [tuple(map(float, point.split()))] * 2
    assert report["labels"] == {"found": 2, "kept": 2, "dropped": 0}


@pytest.mark.parametrize("rows", ["0 0.5 0.5 0.2 0.2 0.4 0.4 2\n", "0 0.5 0.5 0.2 0.2 0.4 0.4 2 0.1 0.1 2 0.1\n"])
def test_a_row_without_all_keypoints_is_dropped_by_its_line(plant, rows):
    source = source_of(plant, f"{YAML}kpt_shape: [2, 3]\n", "0 0.5 0.5 0.2 0.2 0.4 0.4 2 0 0 0\n" + rows)
    read = read_all(source)
    assert len(read.kept["images/train/a.jpg"]) == 1
    assert [(code, line) for code, _, line in read.problems] == [("MALFORMED_LABEL", 2)] * 2


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("0 0.1 0.1 0.2 0.2 0.9", "MALFORMED_LABEL"),  # a confidence, as predictions are saved with
        ("0 0.1 0.1 0.2", "MALFORMED_LABEL"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "MALFORMED_LABEL"),
        ("0.5 0.1 0.1 0.2 0.2", "MALFORMED_LABEL"),
        ("x 0.1 0.1 0.2 0.2", "MALFORMED_LABEL"),
        ("0 0.1 0.1 0.2 inf", "NOT_A_NUMBER"),
        ("0 0.1 0.1 0.2 1e999", "NOT_A_NUMBER"),
        ("nan 0.1 0.1 0.2 0.2", "NOT_A_NUMBER"),
        ("2 0.1 0.1 0.2 0.2", "UNKNOWN_CLASS"),
        ("-1 0.1 0.1 0.2 0.2", "UNKNOWN_CLASS"),
        ("1e300 0.1 0.1 0.2 0.2", "UNKNOWN_CLASS"),
    ],
)
def test_a_bad_row_is_dropped_by_its_line(plant, row, code):
    read = read_all(source_of(plant, YAML, f"{BOX}\n{row}\n{POLYGON}"))
    assert len(read.kept["images/train/a.jpg"]) == 2
    assert {(found, line) for found, _, line in read.problems} == {(code, 3)}


def test_a_row_of_a_million_columns_is_bounded(plant):
    read = read_all(source_of(plant, YAML, BOX + "0" + " 0.1" * 1_000_000))
    assert [code for code, *_ in read.problems] == ["MALFORMED_LABEL"] * 2


# --- Darknet

DARKNET = {
    "obj.data": "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = backup/\n",
    "obj.names": "x\ny\n",
    "train.txt": "data/obj_train_data/a.jpg\n",
    "valid.txt": "data/obj_valid_data/b.jpg\n",
    **labels("obj_train_data/a.txt", "obj_valid_data/b.txt"),
}
DARKNET_IMAGES = dict.fromkeys(("obj_train_data/a.jpg", "obj_valid_data/b.jpg"), b"")


@pytest.mark.parametrize("wrapper", ["", "export/", "data/"])
def test_darknets_lists_tell_the_splits(plant, wrapper):
    files = {wrapper + path: data for path, data in {**DARKNET, **DARKNET_IMAGES}.items()}
    source = read_source(plant(files), "")
    assert {image.path.rpartition("/")[2]: image.split for image in source.images} == {"a.jpg": "train", "b.jpg": "val"}
    assert (source.format, source.class_names(), read_all(source).found, codes(source)) == ("yolo", ("x", "y"), 2, [])
    assert source.reason.startswith(f"{wrapper}obj.data names 2 classes")


def test_what_darknets_lists_do_not_name_is_left_out(plant):
    source = read_source(plant({**DARKNET, **DARKNET_IMAGES, "obj_train_data/c.jpg": b"", "obj_train_data/c.txt": BOX}), "")
    assert [image.path for image in source.left_out] == ["obj_train_data/c.jpg"]


def test_a_list_that_is_not_there_is_named(plant):
    files = {path: data for path, data in DARKNET.items() if path != "valid.txt"}
    source = read_source(plant({**files, **DARKNET_IMAGES}), "")
    assert codes(source) == ["SPLIT_MISSING"]
    assert [image.path for image in source.images] == ["obj_train_data/a.jpg"]


def test_darknets_names_are_found_where_they_lie(plant):
    files = {**DARKNET, "names/voc.names": "p\nq\n", "obj.data": DARKNET["obj.data"].replace("data/obj.names", "C:\\x\\voc.names")}
    assert read_source(plant({**files, **DARKNET_IMAGES}), "").class_names() == ("p", "q")


@pytest.mark.parametrize("text", ["", "garbage", "= =\n=", "train = data/train.txt\n" * 1000, "names = obj.names\n", "\x00" * 1000])
def test_another_file_called_data_is_no_matter(plant, text):
    files = {**DARKNET, "obj.data": text}
    source = read_source(plant({**files, **DARKNET_IMAGES}), "")
    assert (source.class_names(), read_all(source).found) == (("x", "y"), 2)


def test_a_data_yaml_goes_before_darknets_file(plant):
    source = read_source(
        plant({**DARKNET, **DARKNET_IMAGES, "data.yaml": "train: obj_valid_data\nval: obj_train_data\nnames: [p, q]\n"}), ""
    )
    assert source.class_names() == ("p", "q")
    assert {image.path: image.split for image in source.images} == {"obj_train_data/a.jpg": "val", "obj_valid_data/b.jpg": "train"}


def test_the_real_export_of_cvat(plant, test_data):
    folder = test_data / "formats_2label/yolo1.1"
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    source = read_source(plant(files), "")
    read = read_all(source)
    assert {path.rpartition("/")[2]: len(rows) for path, rows in read.kept.items()} == {
        "birds.jpg": 0,
        "crack.jpeg": 0,
        "shapes.jpg": 1,
        "strawberry.jpg": 17,
    }
    assert {image.split for image in source.images} == {"train"}
    assert codes(source) == []


# --- classes


NOTES = '{"categories": [{"id": 1, "name": "y"}, {"id": 0, "name": "x"}], "info": {"version": "1.0"}}'
PAIR = {"images/a.jpg": b"", "labels/a.txt": BOX}


def test_label_studios_notes_name_the_classes_where_no_list_does(plant):
    assert read_source(plant({**PAIR, "notes.json": NOTES}), "").class_names() == ("x", "y")
    assert read_source(plant({**PAIR, "notes.json": NOTES, "classes.txt": "p\n"}), "").class_names() == ("p",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"categories": 3}',
        '{"categories": [{"id": 5, "name": "x"}]}',
        '{"categories": [{"id": [], "name": 1}]}',
        "[" * 10_000,
    ],
)
def test_other_notes_name_no_classes(plant, text):
    with pytest.raises(YardError) as caught:
        read_source(plant({**PAIR, "notes.json": text}), "")
    assert caught.value.reason is Reason.CLASSES_UNKNOWN


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("names: {0: x, 1: y}", ("x", "y")),
        ("names:\n- x\n- y", ("x", "y")),
        ("names: ['no', 1]", ("no", "1")),
        ("nc: 2", ("class_0", "class_1")),
        ("nc: 2\nnames: {1: y}", ("class_0", "y")),
    ],
)
def test_names_in_a_yaml(plant, names, wanted):
    assert source_of(plant, f"train: images/train\nval: images/val\n{names}\n", BOX).class_names() == wanted


# --- where images and labels lie


@pytest.mark.parametrize(
    "paths",
    [
        ("images/A.JPG", "labels/A.TXT"),
        ("images/a.Jpeg", "Labels/A.txt"),
        ("pictures/a.jpg", "ground truth/a.txt"),  # joined by the stem alone
        ("data/img/a.png", "data/txt/a.txt"),
        ("a.jpg", "a.txt"),
        ("set/a.jpg", "set/labels/a.txt"),
        ("train/images/deep/a.jpg", "train/labels/deep/a.txt"),
    ],
)
def test_a_label_file_is_found(plant, paths):
    image, text = paths
    source = read_source(plant({image: b"", text: BOX, "classes.txt": "x\n"}), "")
    assert [(found.path, found.labels) for found in source.images] == [paths]


def test_two_images_of_one_stem_elsewhere_get_no_guessed_labels(plant):
    source = read_source(
        plant({"p/1/a.jpg": b"", "p/2/a.jpg": b"", "p/b.jpg": b"", "q/a.txt": BOX, "q/b.txt": BOX, "classes.txt": "x\n"}), ""
    )
    assert [image.path for image in source.images if image.labels] == ["p/b.jpg"]


def test_a_png_that_is_called_jpg_is_kept_as_what_it_is(bench):
    files = {
        **images("images/b.jpg"),
        "images/a.jpg": picture(1, suffix=".png"),
        **labels("labels/a.txt", "labels/b.txt"),
        "classes.txt": "x\n",
    }
    version, _ = bench.run(zipped(files))
    assert sorted(row.name for row in bench.rows(version)) == ["a.png", "b.jpg"]


@pytest.mark.parametrize("train", ["[images/a, images/b]", "[a.txt, images/b]"])
def test_a_split_of_several_places(plant, train):
    files = {"images/a/1.jpg": b"", "images/b/2.jpg": b"", "images/c/3.jpg": b"", "a.txt": "images/a/1.jpg\n"}
    files |= {f"labels/{path}.txt": BOX for path in ("a/1", "b/2", "c/3")}
    source = read_source(plant({**files, "data.yaml": f"path: /content/datasets\ntrain: {train}\nval: images/c\nnames: [x]\n"}), "")
    assert {image.path[-5]: image.split for image in source.images} == {"1": "train", "2": "train", "3": "val"}


# --- several labellings


def test_of_yolo_and_voc_that_label_as_many_images_the_other_is_named(plant):
    files = {"images/a.jpg": b"", "labels/a.txt": BOX, "classes.txt": "x\n", "vocs/a.xml": voc("a.jpg", ("x", 1, 1, 9, 9))}
    source = read_source(plant(files), "")
    assert (source.format, codes(source)) == ("yolo", ["OTHER_LABELLING"])
    assert "vocs is another labelling (voc, 1 images)" in source.notes.items[0][1]
    assert read_source(plant(files), "voc").format == "voc"


def test_voc_that_labels_more_images_wins_unless_a_yaml_names_the_other(plant):
    files = {"images/a.jpg": b"", "images/b.jpg": b"", "labels/a.txt": BOX}
    files |= {f"vocs/{name}.xml": voc(f"{name}.jpg", ("x", 1, 1, 9, 9)) for name in "ab"}
    assert read_source(plant({**files, "classes.txt": "x\n"}), "").format == "voc"
    assert read_source(plant({**files, "data.yaml": "train: images\nnames: [x]\n"}), "").format == "yolo"


def test_the_real_phones(plant, test_data):
    folder = test_data / "formats_2label/phones"
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = {}
    for format_ in ("", "voc"):
        source = read_source(plant(files), format_)
        read = read_all(source, {image.path: (1024, 808) for image in source.images})
        found[source.format] = {
            path: sorted(zip(named(source, rows), ((r.cx, r.cy, r.w, r.h) for r in rows), strict=True)) for path, rows in read.kept.items()
        }
    assert sum(map(len, found["yolo"].values())) == 10
    for path, rows in found["yolo"].items():
        assert [name for name, _ in rows] == [name for name, _ in found["voc"][path]]
        for (_, one), (_, other) in zip(rows, found["voc"][path], strict=True):
            assert one == pytest.approx(other, abs=1e-6)
