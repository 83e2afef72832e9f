"""CreateML JSON: both spellings, a file an image or one for all, and whatever else a file may hold."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labellings import codes, named, pixels, read_all
from tests.unit.dataset.conftest import images, zipped

from visionyard.dataset.formats.createml import find_createml, read_createml
from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.shapes import Shape


def box(label="cat", x=50, y=40, width=20, height=10):
    return {"label": label, "coordinates": {"x": x, "y": y, "width": width, "height": height}}


def entry(image, *labels, names=("image", "annotations")):
    return {names[0]: image, names[1]: list(labels)}


@pytest.mark.parametrize("names", [("image", "annotations"), ("imagefilename", "annotation"), ("image", "annotation")])
@pytest.mark.parametrize("together", [True, False])
def test_both_spellings_in_one_file_or_in_many(plant, names, together):
    entries = [entry("a.jpg", box("dog"), box("cat", 10, 10, 20, 20), names=names), entry("b.png", box("ant", 1.5, 2.5, 1, 1), names=names)]
    files = {"all.json": json.dumps(entries)} if together else {f"{i}.json": json.dumps([e]) for i, e in enumerate(entries)}
    source = read_source(plant({"a.jpg": b"", "b.png": b"", **files}), "")
    read = read_all(source)
    assert (source.format, source.class_names()) == ("createml", ("ant", "cat", "dog"))
    assert [pixels(row) for row in read.kept["a.jpg"]] == [(40, 35, 60, 45), (0, 0, 20, 20)]
    assert named(source, read.kept["a.jpg"]) == ["dog", "cat"]
    assert [pixels(row) for row in read.kept["b.png"]] == [(1, 2, 2, 3)]
    assert all(row.shape is Shape.BOX for row in read.kept["a.jpg"])
    assert (read.found, read.problems, codes(source)) == (3, [], [])


def test_roboflows_folders_are_splits(plant):
    files = {}
    for split, image in (("train", "a.jpg"), ("valid", "b.jpg"), ("test", "c.jpg")):
        files |= {f"{split}/{image}": b"", f"{split}/_annotations.createml.json": json.dumps([entry(image, box())])}
    source = read_source(plant(files), "")
    assert {image.path: image.split for image in source.images} == {"train/a.jpg": "train", "valid/b.jpg": "val", "test/c.jpg": "test"}


def test_a_folder_of_images_beside_files_of_each_split(plant):
    files = {"images/a.jpg": b"", "images/b.jpg": b""}
    files |= {"train/l.json": json.dumps([entry("a.jpg", box())]), "val/l.json": json.dumps([entry("b.jpg", box())])}
    assert {i.path: i.split for i in read_source(plant(files), "").images} == {"images/a.jpg": "train", "images/b.jpg": "val"}


def test_an_image_without_annotations_is_background_and_one_that_is_not_listed_is_left_out(plant):
    tree = plant(
        {"a.jpg": b"", "b.jpg": b"", "c.jpg": b"", "other/d.jpg": b"", "l.json": json.dumps([entry("a.jpg", box()), entry("b.jpg")])}
    )
    source = read_source(tree, "")
    assert [(image.path, bool(image.labels)) for image in source.images] == [("a.jpg", True), ("b.jpg", False)]
    assert [image.path for image in source.left_out] == ["c.jpg"]


def test_a_whole_import(bench):
    files = images(*(f"{name}.jpg" for name in "abcd"))
    labels = [
        entry("a.jpg", box("x", 20, 20, 10, 10), box("x", 20, 20, 10, 10)),
        entry("b.jpg"),
        entry("c.jpg", box("y", 10, 10, 10, 10), None),
    ]
    version, context = bench.run(zipped({**files, "l.json": json.dumps([*labels, entry("gone.jpg", box())])}))
    report = bench.report(context)
    assert (version.task, version.class_names, version.image_count, version.label_count) == ("detect", ("cat", "x", "y"), 3, 2)
    assert report["images"] == {"found": 4, "kept": 3, "dropped": 1}
    assert report["labels"] == {"found": 5, "kept": 2, "dropped": 3}
    assert report["dropped_by_code"] == {"DUPLICATE_BOX": 1, "LABEL_WITHOUT_IMAGE": 1, "MALFORMED_LABEL": 1}
    assert {f["code"]: f["message"] for f in report["findings"]}[
        "IMAGE_NOT_LISTED"
    ] == "d.jpg is named by no file of the labelling; it was left out"


def test_with_a_file_an_image_one_without_file_is_background(plant):
    files = {
        "a.jpg": b"",
        "b.jpg": b"",
        "c.jpg": b"",
        "a.json": json.dumps([entry("a.jpg", box())]),
        "b.json": json.dumps([entry("b.jpg", box())]),
    }
    source = read_source(plant(files), "")
    assert [(image.path, bool(image.labels)) for image in source.images] == [("a.jpg", True), ("b.jpg", True), ("c.jpg", False)]
    assert not len(source.left_out)


def test_labels_without_images_are_orphans(plant):
    source = read_source(
        plant({"l.json": json.dumps([entry("a.jpg", box(), box("dog", 1, 1, 1, 1)), entry("b.jpg"), entry("c.jpg", box())])}), ""
    )
    assert {name: len(rows) for name, rows in read_all(source).orphans.items()} == {"a.jpg": 2, "c.jpg": 1}
    assert codes(source) == ["LISTED_IMAGE_MISSING"]
    assert not len(source.images)


@pytest.mark.parametrize("files", [("l.json", "l.json"), ("l.json", "m.json")])
def test_an_image_that_is_named_twice_gets_all_labels_and_is_listed(plant, files):
    entries = {}
    for path, label in zip(files, ("cat", "dog"), strict=True):
        entries.setdefault(path, []).append(entry("images/a.jpg", box(label)))
    source = read_source(plant({"images/a.jpg": b"", **{path: json.dumps(each) for path, each in entries.items()}}), "")
    assert named(source, read_all(source).kept["images/a.jpg"]) == ["cat", "dog"]
    assert codes(source) == ["IMAGE_NAMED_TWICE"]
    assert len(source.images) == 1


BAD_LABELS = [
    ("no object", "MALFORMED_LABEL"),
    (None, "MALFORMED_LABEL"),
    ([], "MALFORMED_LABEL"),
    ({}, "MALFORMED_LABEL"),
    ({"label": "x"}, "MALFORMED_LABEL"),
    ({"label": "x", "coordinates": []}, "MALFORMED_LABEL"),
    ({"label": "x", "coordinates": {"x": 1, "y": 2, "width": 3}}, "MALFORMED_LABEL"),
    ({"label": "x", "coordinates": {"x": "1", "y": 2, "width": 3, "height": 4}}, "MALFORMED_LABEL"),
    ({"label": "x", "coordinates": {"x": True, "y": 2, "width": 3, "height": 4}}, "MALFORMED_LABEL"),
    (box(label=None), "MALFORMED_LABEL"),
    (box(label=" "), "MALFORMED_LABEL"),
    (box(label=["x"]), "MALFORMED_LABEL"),
    (box(x=10**400), "NOT_A_NUMBER"),
]


@pytest.mark.parametrize(("label", "code"), BAD_LABELS)
def test_a_bad_label_costs_itself_only_and_says_where_it_is(plant, label, code):
    source = read_source(plant({"a.jpg": b"", "l.json": json.dumps([entry("a.jpg", box(), label, box("dog"))])}), "")
    read = read_all(source)
    assert len(read.kept["a.jpg"]) == 2
    [(found, message, line)] = read.problems
    assert (found, line) == (code, 0)
    assert code == "NOT_A_NUMBER" or message.startswith("annotation 2 of image 'a.jpg' ")


def test_a_number_that_no_float_holds_costs_its_label_only(plant):
    text = json.dumps([entry("a.jpg", box(), box("dog"))]).replace("50", "1e999", 1)
    read = read_all(read_source(plant({"a.jpg": b"", "l.json": text}), ""))
    assert (len(read.kept["a.jpg"]), [code for code, *_ in read.problems]) == (1, ["NOT_A_NUMBER"])


@pytest.mark.parametrize("entries", [["x"], [None], [{}], [{"annotations": []}], [{"image": 3, "annotations": []}]])
def test_an_entry_that_names_no_image_is_listed(plant, entries):
    source = read_source(plant({"a.jpg": b"", "l.json": json.dumps([entry("a.jpg", box()), *entries])}), "")
    assert codes(source) == ["MALFORMED_ANNOTATION"]
    assert read_all(source).found == 1


def test_labels_of_an_entry_that_names_no_image_are_counted(plant):
    source = read_source(plant({"a.jpg": b"", "l.json": json.dumps([entry("a.jpg", box()), entry(None, box(), box())])}), "")
    read = read_all(source)
    assert (read.found, {name: len(rows) for name, rows in read.orphans.items()}) == (3, {"": 2})


@pytest.mark.parametrize("tail", ["", "]junk", ', {"image": "b.jpg", "annot', ", nan]", ", 1" + "0" * 5000 + "]"])
def test_a_damaged_file_is_read_as_far_as_it_goes(plant, tail):
    text = json.dumps([entry("a.jpg", box())])[:-1] + tail
    source = read_source(plant({"a.jpg": b"", "l.json": text}), "")
    assert len(read_all(source).kept["a.jpg"]) == 1
    assert codes(source) == ["MALFORMED_ANNOTATION"]


OTHERS = {
    "coco": {"images": [{"file_name": "a.jpg", "id": 1}], "annotations": []},
    "label studio": [{"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": []}]}],
    "label studio's short form": [{"image": "a.jpg", "id": 1, "label": [{"x": 1}], "annotator": 1}],
    "texts of pictures": [{"image": "a.jpg", "caption": "a cat"}],
    "a class a picture": [{"image": "a.jpg", "annotation": "cat"}],
    "boxes of another kind": [{"image": "a.jpg", "annotations": [{"label": "x", "bbox": [1, 2, 3, 4]}]}],
    "numbers": [1, 2, 3],
    "nothing": [],
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_json_is_not_taken_for_it(plant, case):
    assert find_createml(plant({"a.jpg": b"", "l.json": json.dumps(OTHERS[case])})) == []


def test_bounds(plant):
    deep = '[{"image": "a.jpg", "annotations": ' + "[" * 100_000 + "]" * 100_000 + "}]"
    many = json.dumps([entry("a.jpg", box())])[:-1] + ', {"image": "b.jpg", "annotations": [' + "0," * 6_000_000 + "0]}]"
    long_ = json.dumps([entry("a.jpg", box())])[:-1] + ', {"image": "' + "b" * (17 << 20) + '"}]'
    for text in (many, long_):
        source = read_source(plant({"a.jpg": b"", "l.json": text}), "")
        assert len(read_all(source).kept["a.jpg"]) == 1
        assert codes(source) == ["MALFORMED_ANNOTATION"]
    assert find_createml(plant({"a.jpg": b"", "l.json": deep})) == []


def test_nan_costs_its_label_only(plant):
    """Python's own encoder writes it."""
    text = json.dumps([entry("a.jpg", box(x=float("nan")), box("dog", y=-float("inf")), box("ant"))])
    read = read_all(read_source(plant({"a.jpg": b"", "l.json": text}), ""))
    assert (len(read.kept["a.jpg"]), [code for code, *_ in read.problems]) == (1, ["NOT_A_NUMBER"] * 2)


def test_half_a_character_is_no_matter(plant):
    text = json.dumps([entry("a\ud800.jpg", box("\udc00x")), entry("a.jpg", box())])
    source = read_source(plant({"a.jpg": b"", "l.json": text}), "")
    assert {name: len(rows) for name, rows in read_all(source).orphans.items()} == {"a?.jpg": 1}
    assert source.class_names() == ("?x", "cat")


def test_a_byte_order_mark_is_no_matter(plant):
    source = read_source(plant({"a.jpg": b"", "l.json": b"\xef\xbb\xbf" + json.dumps([entry("a.jpg", box())]).encode()}), "")
    assert read_all(source).found == 1


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["a.jpg", "b.jpg", "cat"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["image", "imagefilename", "annotations", "annotation", "label", "coordinates", "x", "y", "width", "height"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)
WHOLE = json.dumps([entry("a.jpg", box(), box("dog")), entry("b.jpg", box("é", 1e3, -2, 0, 1.25))]).encode()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        values.map(lambda value: json.dumps(value).encode()),
        st.tuples(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)), st.binary(max_size=6)).map(
            lambda cut: WHOLE[: min(cut[:2])] + cut[2] + WHOLE[max(cut[:2]) :]
        ),
    )
)
def test_any_text_is_read_or_passed_over(plant, data):
    tree = plant({"a.jpg": b"", "b.jpg": b"", "l.json": data})
    find_createml(tree)
    source = read_createml(tree)
    read_all(source)
    assert source.class_names() is not None


def test_the_real_set(plant, test_data):
    folder = test_data / "formats_2label"
    files = {path.name: path.read_bytes() for path in (folder / "CreateML").iterdir()}
    files |= {f"images/{path.name}": b"" for path in (folder / "cvat1.1/images").iterdir()}
    source = read_source(plant(files), "")
    read = read_all(source, {f"images/{name}": (800, 800) for name in ("strawberry.jpg",)})
    assert source.format == "createml"
    assert {path: len(rows) for path, rows in read.kept.items()} == {
        "images/birds.jpg": 2,
        "images/crack.jpeg": 1,
        "images/shapes.jpg": 5,
        "images/strawberry.jpg": 17,
    }
    written = json.loads((folder / "CreateML/strawberry.json").read_text())[0]["annotations"]
    wanted = [(c["x"] - c["width"] / 2, c["y"] - c["height"] / 2) for c in (label["coordinates"] for label in written)]
    found = [pixels(row, (800, 800))[:2] for row in read.kept["images/strawberry.jpg"]]
    assert [value for pair in found for value in pair] == pytest.approx([value for pair in wanted for value in pair], abs=1e-5)
    assert codes(source) == ["OTHER_LABELLING"]  # birds.xml, a VOC file among the JSON files
    assert read.problems == []


@pytest.mark.parametrize("folders", ["train test test", "test train test", "test test train"])
def test_labels_of_a_missing_picture_are_not_put_on_another_folder_s_of_its_name(plant, folders):
    entries = [entry(f"{folder}/0.jpg", box(folder)) for folder in folders.split()]
    source = read_source(plant({"l.json": json.dumps(entries), "train/0.jpg": b""}), "")
    rows = read_all(source)
    assert named(source, rows.kept["train/0.jpg"]) == ["train"]
    assert rows.found == 3
