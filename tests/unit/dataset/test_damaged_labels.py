"""Images whose label file is damaged, in every format with a file an image: left out and listed, never taken for pictures on which nothing is to be seen."""

import json

import pytest
from labellings import read_all
from tests.unit.dataset.conftest import BOX, picture, voc, zipped

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.detect import read_source
from visionyard.kit.errors import Reason, YardError


def labelme(name):
    shape = {"label": "x", "points": [[1, 1], [20, 20]], "shape_type": "rectangle", "group_id": None}
    return json.dumps({"flags": {}, "shapes": [shape], "imagePath": name, "imageData": None, "imageHeight": 48, "imageWidth": 64})


def labelme_xml(name):
    corners = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((1, 1), (20, 1), (20, 20)))
    return f"<annotation><filename>{name}</filename><imagesize/><object><name>x</name><polygon>{corners}</polygon></object></annotation>"


def createml(name):
    return json.dumps([{"image": name, "annotations": [{"label": "x", "coordinates": {"x": 10, "y": 10, "width": 9, "height": 9}}]}])


FORMATS = {
    "voc": ("xml", lambda name: voc(name, ("x", 1, 1, 20, 20))),
    "labelme": ("json", labelme),
    "labelme3": ("xml", labelme_xml),
    "createml": ("json", createml),
    "yolo": ("txt", lambda _: BOX),
}
DAMAGES = {
    "cut off": lambda text: text[: 2 * len(text) // 3].encode(),
    "zeros": lambda text: bytes(len(text)),
    "zeros at its end": lambda text: text[: len(text) // 2].encode() + bytes(len(text) // 2),
    "other bytes": lambda text: b"\x93\xfe\xc1" * (len(text) // 3),
    "empty": lambda _: b"",
}
CASES = [
    (format_, damage)
    for format_ in FORMATS
    for damage in DAMAGES
    if format_ != "yolo"
    or damage not in {"cut off", "empty"}  # of lines of numbers nobody sees it; an empty file says that there is nothing
]


def sample(format_, *stems, damaged=(), damage="cut off", first=0):
    """A set of images in no split, those of some stems with a damaged label file each."""
    suffix, write = FORMATS[format_]
    files = {"classes.txt": "x\n"} if format_ == "yolo" else {}
    for seed, stem in enumerate(stems, start=first):
        text = write(f"{stem}.jpg")
        files[f"{stem}.jpg"] = picture(seed)
        files[f"{stem}.{suffix}"] = DAMAGES[damage](text) if stem in damaged else text
    return files


def names(bench, version):
    return {row.name for row in bench.rows(version)}


@pytest.mark.parametrize(("format_", "damage"), CASES)
def test_an_image_with_a_damaged_label_file_is_left_out(bench, format_, damage):
    version, context = bench.run(zipped(sample(format_, *"abcdef", damaged="c", damage=damage)))
    report = bench.report(context)
    assert (report["format"], names(bench, version)) == (format_, {f"{stem}.jpg" for stem in "abdef"})
    assert report["images"] == {"found": 6, "kept": 5, "dropped": 1}
    assert report["labels"] == {"found": 5, "kept": 5, "dropped": 0}
    errors = [finding for finding in report["findings"] if finding["severity"] == "ERROR"]
    assert {(finding["code"], finding["file"]) for finding in errors} == {("MALFORMED_ANNOTATION", f"c.{FORMATS[format_][0]}")}
    assert sum("c.jpg was left out, since nobody knows what is on it" in finding["message"] for finding in errors) == 1
    assert not any(finding["code"] == "IMAGE_WITHOUT_LABELS" for finding in report["findings"])


@pytest.mark.parametrize("format_", FORMATS)
def test_a_strict_import_is_refused_for_it(bench, format_):
    with pytest.raises(YardError) as caught:
        bench.run(zipped(sample(format_, *"abcdef", damaged="c", damage="zeros")), strict=True)
    assert caught.value.reason is Reason.FINDINGS_REFUSED
    assert f"c.{FORMATS[format_][0]} cannot be read" in str(caught.value)


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize(("format_", "damage"), CASES)
def test_where_all_are_damaged_the_source_is_refused_and_says_so(bench, format_, damage, append):
    if append:
        bench.run(zipped(sample(format_, *"uvwxyz", first=10)))
    before = bench.listing()
    background = {"g.jpg": picture(9)}
    for more in ({}, background):
        with pytest.raises(YardError) as caught:
            bench.run(zipped(sample(format_, *"abcdef", damaged="abcdef", damage=damage) | more), append=append)
        assert caught.value.reason in {Reason.NO_IMAGES, Reason.NO_LABELS, Reason.FORMAT_UNKNOWN}
    assert {key for key in bench.listing() if "/importJobs/" not in key} == {key for key in before if "/importJobs/" not in key}


@pytest.mark.parametrize("append", [False, True])
def test_the_refusal_names_the_damage(bench, append):
    if append:
        bench.run(zipped(sample("labelme3", *"uvwxyz", first=10)))
    files = sample("labelme3", "a", "b", damaged="ab")
    damage = r"can be used, as the label files of 2 images cannot be read: see its report"
    with pytest.raises(YardError, match=rf"none of the 2 images of the\.zip {damage}"):
        bench.run(zipped(files), append=append)
    with pytest.raises(YardError, match=rf"no label of the\.zip {damage}"):
        bench.run(zipped(files | {"c.jpg": picture(2)}), append=append)


@pytest.mark.parametrize("format_", FORMATS)
def test_what_is_appended_is_read_alike(bench, format_):
    bench.run(zipped(sample(format_, *"uvwxyz", first=10)))
    version, context = bench.run(zipped(sample(format_, *"abc", damaged="b", damage="zeros")), append=True)
    assert names(bench, version) == {f"{stem}.jpg" for stem in "uvwxyzac"}
    assert bench.report(context)["images"] == {"found": 3, "kept": 2, "dropped": 1}


def test_an_append_of_background_goes_on_where_a_file_says_that_it_is_background(bench):
    bench.run(zipped(sample("yolo", *"uvwxyz", first=10)))
    version, _ = bench.run(zipped(sample("yolo", *"ab", damaged="b", damage="zeros") | {"a.txt": ""}), append=True)
    assert names(bench, version) == {f"{stem}.jpg" for stem in "uvwxyza"}


@pytest.mark.parametrize("format_", FORMATS)
def test_neither_a_corrupt_image_nor_a_missing_one_makes_a_difference(bench, format_):
    suffix = FORMATS[format_][0]
    files = sample(format_, *"abcdef", damaged="bc", damage="zeros at its end") | {"b.jpg": b"\xff\xd8\xff\xe0"}
    del files["c.jpg"]
    version, context = bench.run(zipped(files))
    report = bench.report(context)
    assert names(bench, version) == {f"{stem}.jpg" for stem in "adef"}
    assert report["images"] == {"found": 5, "kept": 4, "dropped": 1}
    assert report["labels"] == {"found": 4, "kept": 4, "dropped": 0}
    assert not any("holds 0 labels" in finding["message"] for finding in report["findings"])
    if format_ != "createml":  # where the images are what is listed, nothing tells which file a picture should have had
        assert ("MALFORMED_ANNOTATION", f"b.{suffix}") in {(finding["code"], finding["file"]) for finding in report["findings"]}


def test_images_that_lie_elsewhere(bench):
    """As with ``--images``."""
    for format_ in FORMATS:
        files = sample(format_, *"abcdef", damaged="c", damage="zeros")
        apart = {
            ("images/" if path.endswith("jpg") else "" if path == "classes.txt" else "labels/") + path: data for path, data in files.items()
        }
        labels = zipped({path: data for path, data in apart.items() if not path.endswith("jpg")})
        pictures = bench.uploads.take(zipped({path: data for path, data in apart.items() if path.endswith("jpg")}))
        version, context = bench.run(labels, format_, images_upload=pictures)
        assert names(bench, version) == {f"{stem}.jpg" for stem in "abdef"}
        assert bench.report(context)["images"] == {"found": 6, "kept": 5, "dropped": 1}


def test_a_file_that_can_be_read_counts_before_a_nearer_one_that_cannot(plant):
    for format_ in ("labelme", "labelme3"):
        suffix, write = FORMATS[format_]
        files = {"a.jpg": b"", "b.jpg": b"", f"a.{suffix}": b"", f"old/a.{suffix}": write("a.jpg"), f"b.{suffix}": write("b.jpg")}
        source = read_source(plant(files), "")
        rows = read_all(source)
        assert (sorted(rows.kept), rows.unread) == (["a.jpg", "b.jpg"], [f"a.{suffix}"])
        assert all(rows.kept.values())
        [message] = [message for code, message, *_ in source.notes.items if code is Code.IMAGE_NAMED_TWICE]
        assert message.startswith(f"a.{suffix} is called as a.jpg is, which old/a.{suffix} labels already")


@pytest.mark.parametrize("format_", ["labelme", "labelme3"])
def test_a_file_of_another_kind_is_no_damaged_one(plant, format_):
    """Other programs' files, whole and beside each picture, stand in no label file's way."""
    suffix, write = FORMATS[format_]
    other = "<xmp>day</xmp>" if suffix == "xml" else "{}"
    files = {f"images/{stem}.{kind}": data for stem in "ab" for kind, data in (("jpg", b""), (suffix, other))}
    rows = read_all(read_source(plant(files | {f"labels/{stem}.{suffix}": write(f"{stem}.jpg") for stem in "ab"}), ""))
    assert (len(rows.kept["images/a.jpg"]), len(rows.kept["images/b.jpg"]), rows.unread) == (1, 1, [])


@pytest.mark.parametrize(("format_", "mark"), [("labelme", "imagePath"), ("labelme3", "<object>")])
def test_a_damaged_file_of_no_image_s_name_is_listed(plant, format_, mark):
    suffix, write = FORMATS[format_]
    text = write("b.jpg")
    source = read_source(plant({"a.jpg": b"", f"a.{suffix}": write("a.jpg"), f"1.{suffix}": text[: text.index(mark)]}), "")
    [(code, message, file, _)] = source.notes.items
    assert (code, file) == (Code.MALFORMED_ANNOTATION, f"1.{suffix}")
    assert message.endswith("; which image it belongs to is not known")


def test_a_cvat_file_that_is_cut_off(bench):
    drawn = "".join(f'<box label="x" xtl="{left}" ytl="1" xbr="30" ybr="9"></box>' for left in (1, 9))
    shown = "".join(f'<image id="{i}" name="{stem}.jpg" width="64" height="48">{drawn}</image>' for i, stem in enumerate("abcdef"))
    text = f"<annotations><version>1.1</version>{shown}</annotations>"
    files = {f"{stem}.jpg": picture(seed) for seed, stem in enumerate("abcdef")}
    version, context = bench.run(zipped(files | {"all.xml": text[: text.index("</box>", text.index("d.jpg")) + 10]}))
    report = bench.report(context)
    assert names(bench, version) == {"a.jpg", "b.jpg", "c.jpg"}
    assert report["images"] == {"found": 6, "kept": 3, "dropped": 3}
    assert report["labels"] == {"found": 6, "kept": 6, "dropped": 0}
    assert sum("d.jpg was left out, since nobody knows what is on it" in finding["message"] for finding in report["findings"]) == 1


def test_a_list_that_is_cut_off_makes_no_background(plant):
    """Where a file lists many images, one that is not named may have stood behind the damage."""
    entries = [json.loads(createml(f"{stem}.jpg"))[0] for stem in "abc"]
    text = json.dumps(entries)
    source = read_source(plant({f"{stem}.jpg": b"" for stem in "abc"} | {"all.json": text[: text.index("b.jpg") + 20]}), "")
    assert ([image.path for image in source.images], [image.path for image in source.left_out]) == (["a.jpg"], ["b.jpg", "c.jpg"])


def test_a_damaged_label_file_in_another_tree_is_its_image_s(plant):
    files = {"classes.txt": "x\n", "pictures/a.jpg": b"", "pictures/b.jpg": b"", "rows/a.txt": BOX, "rows/b.txt": bytes(20)}
    rows = read_all(read_source(plant(files), ""))
    assert (len(rows.kept["pictures/a.jpg"]), rows.unread) == (1, ["rows/b.txt"])
