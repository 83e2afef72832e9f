"""Whole imports from generated archives against a store in memory."""

import hashlib
import random
import time
from functools import partial

import pytest
import zstandard
from tests.unit.dataset.conftest import YAML, good_set, picture, tarred, zipped

from visionyard.dataset.import_attempt import ImportLimits
from visionyard.dataset.import_job import run_import
from visionyard.dataset.import_spec import Derivation, ImportSpec
from visionyard.dataset.shards import ShardWriter
from visionyard.kit.artifacts.dataset import read_images
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName


def codes(report):
    return [finding["code"] for finding in report["findings"]]


def test_a_yolo_set_becomes_a_version(bench):
    version, context = bench.run(zipped(good_set()))
    assert (version.image_count, version.label_count, version.class_names) == (6, 6, ("thing", "other"))
    assert [(s.name, s.image_count, s.label_count) for s in version.splits] == [("train", 4, 4), ("val", 2, 2)]
    assert [c.label_count for c in version.classes] == [3, 3]
    report = bench.report(context)
    assert report["images"] == {"found": 6, "kept": 6, "dropped": 0}
    assert report["labels"] == {"found": 6, "kept": 6, "dropped": 0}
    assert not report["findings"]
    assert report["split_reason"].startswith("source")
    assert version.total_bytes == sum(len(data) for _, data in read_images(bench.store, bench.rows(version), version))
    assert not bench.uploads.held


def test_stored_bytes_are_what_the_store_grew_by(bench):
    version, _ = bench.run(zipped(good_set()))
    grown = sum(entry.size for entry in bench.store.list("projects/default/") if "/datasets/" not in entry.key)
    assert version.stored_bytes == grown


def test_the_digest_depends_on_content_only(bench):
    files = good_set()
    first, _ = bench.run(zipped(files), "one")
    shuffled = list(files.items())
    random.Random(3).shuffle(shuffled)
    packed = tarred({f"wrapped/deep/{path}": data for path, data in shuffled})
    second, _ = bench.run(zstandard.compress(packed), "two")
    third, _ = bench.run(tarred(dict(shuffled), "w:gz"), "three")
    assert first.digest == second.digest == third.digest
    changed, _ = bench.run(zipped({**files, "labels/train/train0.txt": "1 0.5 0.5 0.25 0.25\n"}), "four")
    assert changed.digest != first.digest
    assert bench.listing().count(second.manifest_key) == 1
    assert len([key for key in bench.listing() if key.endswith(".tar")]) == 1


def test_the_same_content_again_gives_the_same_version(bench):
    first, _ = bench.run(zipped(good_set()))
    before = bench.listing()
    second, context = bench.run(zipped(good_set()))
    assert second.name == first.name
    assert codes(bench.report(context)) == ["VERSION_UNCHANGED"]
    assert [key for key in bench.listing() if key not in before] == [context.job.pointers["report_key"]]


def test_only_new_images_are_stored(bench):
    first, _ = bench.run(zipped(good_set(4)))
    second, _ = bench.run(zipped(good_set(5)))
    assert second.name.number == 2
    new = {row.shard for row in bench.rows(second)} - {row.shard for row in bench.rows(first)}
    assert len(new) == 1
    assert sum(row.shard in new for row in bench.rows(second)) == 1
    assert [data for _, data in read_images(bench.store, bench.rows(second), second)]


SICK = {
    "outside": ("0 1.4 0.5 0.2 0.2", "OUT_OF_RANGE"),
    "negative": ("0 -0.5 0.5 0.2 0.2", "OUT_OF_RANGE"),
    "nan": ("0 nan 0.5 0.2 0.2", "NOT_A_NUMBER"),
    "infinite": ("0 inf 0.5 0.2 0.2", "NOT_A_NUMBER"),
    "class": ("7 0.5 0.5 0.2 0.2", "UNKNOWN_CLASS"),
    "negative class": ("-1 0.5 0.5 0.2 0.2", "UNKNOWN_CLASS"),
    "half a class": ("0.5 0.5 0.5 0.2 0.2", "MALFORMED_LABEL"),
    "no area": ("0 0.5 0.5 0 0.2", "ZERO_AREA_BOX"),
    "negative size": ("0 0.5 0.5 -0.1 0.2", "SWAPPED_CORNERS"),
    "twice": ("0 0.5 0.5 0.25 0.25", "DUPLICATE_BOX"),
    "words": ("zero point five", "MALFORMED_LABEL"),
    "short": ("0 0.5 0.5 0.2", "MALFORMED_LABEL"),
    "long": ("0 0.5 0.5 0.2 0.2 0.9", "MALFORMED_LABEL"),
}


@pytest.mark.parametrize("case", SICK)
def test_a_bad_row_costs_itself_only(bench, case):
    row, code = SICK[case]
    version, context = bench.run(zipped({**good_set(), "labels/train/train0.txt": f"0 0.5 0.5 0.25 0.25\n\n{row}\n"}))
    report = bench.report(context)
    assert version.label_count == 6
    assert report["labels"] == {"found": 7, "kept": 6, "dropped": 1}
    assert report["dropped_by_code"] == {code: 1}
    [finding] = report["findings"]
    assert (finding["code"], finding["file"], finding["line"]) == (code, "labels/train/train0.txt", 3)
    assert finding["message"].startswith("labels/train/train0.txt:3 ")
    assert finding["remedy"]


def test_a_box_over_the_edge_is_clipped_and_listed(bench):
    version, context = bench.run(zipped({**good_set(), "labels/train/train0.txt": "0 0.9 0.5 0.4 0.25\n"}))
    [label] = next(row for row in bench.rows(version) if row.name == "train0.jpg").labels
    assert label[:5] == pytest.approx((0, 0.85, 0.5, 0.3, 0.25))
    assert codes(bench.report(context)) == ["BOX_CLIPPED"]


def test_a_polygon_becomes_its_box(bench):
    version, context = bench.run(zipped({**good_set(), "labels/train/train0.txt": "1 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.4\n0 .5 .5 .1 .1\n"}))
    labels = next(row for row in bench.rows(version) if row.name == "train0.jpg").labels
    assert [label[:5] for label in labels] == [(0, 0.5, 0.5, 0.1, 0.1), pytest.approx((1, 0.3, 0.4, 0.4, 0.4))]
    assert codes(bench.report(context)) == ["POLYGON_AS_BOX"]


def test_labels_without_image_and_images_without_labels(bench):
    files = {**good_set(), "labels/train/orphan.txt": "0 .5 .5 .1 .1\n1 .5 .5 .1 .1\n", "images/train/bare.jpg": picture(77)}
    version, context = bench.run(zipped(files))
    report = bench.report(context)
    assert version.image_count == 7
    assert report["labels"] == {"found": 8, "kept": 6, "dropped": 2}
    assert report["dropped_by_code"] == {"LABEL_WITHOUT_IMAGE": 2}
    assert {(f["code"], f["file"]) for f in report["findings"]} == {
        ("LABEL_WITHOUT_IMAGE", "labels/train/orphan.txt"),
        ("IMAGE_WITHOUT_LABELS", "images/train/bare.jpg"),
    }


def test_a_corrupt_image_is_dropped_with_its_labels(bench):
    whole = picture(0)
    version, context = bench.run(zipped({**good_set(), "images/train/train0.jpg": whole[: len(whole) // 2]}))
    report = bench.report(context)
    assert version.image_count == 5
    assert report["images"] == {"found": 6, "kept": 5, "dropped": 1}
    assert report["labels"] == {"found": 6, "kept": 5, "dropped": 1}
    assert report["dropped_by_code"] == {"CORRUPT_IMAGE": 1}


def test_the_same_name_in_two_folders(bench):
    files = {"data.yaml": "train: [a/images, b/images]\nval: c/images\nnames: [x]\n"}
    for i, folder in enumerate("abc"):
        files[f"{folder}/images/0001.jpg"] = picture(i)
        files[f"{folder}/labels/0001.txt"] = "0 .5 .5 .1 .1\n"
    version, _ = bench.run(zipped(files))
    assert [(row.split, row.name) for row in bench.rows(version)] == [
        ("train", "a-images-0001.jpg"),
        ("train", "b-images-0001.jpg"),
        ("val", "0001.jpg"),
    ]


def test_leakage_and_doubles_are_listed(bench):
    files = {**good_set(), "images/val/val0.jpg": picture(0), "images/train/double.jpg": picture(1), "labels/train/double.txt": ""}
    _, context = bench.run(zipped(files))
    assert codes(bench.report(context)) == ["DUPLICATE_IMAGE", "SPLIT_LEAKAGE"] or codes(bench.report(context)) == [
        "SPLIT_LEAKAGE",
        "DUPLICATE_IMAGE",
    ]


def test_train_and_test_without_val(bench):
    files = {path.replace("/val/", "/test/"): data for path, data in good_set().items()}
    files["data.yaml"] = "train: images/train\ntest: images/test\nnames: [a, b]\n"
    version, context = bench.run(zipped(files))
    assert [s.name for s in version.splits] == ["train", "val"]
    assert codes(bench.report(context)) == ["TEST_USED_AS_VAL"]


def test_no_split_is_drawn_with_a_seed(bench):
    files = {path.replace("/train/", "/").replace("/val/", "/"): data for path, data in good_set(12).items()}
    files["data.yaml"] = "train: images\nval: images\nnames: [a, b]\n"
    one, context = bench.run(zipped(files), "one", seed=1)
    two, _ = bench.run(zipped(files), "two", seed=1)
    other, _ = bench.run(zipped(files), "three", seed=2)
    assert one.digest == two.digest != other.digest
    assert [s.name for s in one.splits] == ["train", "val"]
    assert bench.report(context)["split_reason"].startswith("drawn")
    three, _ = bench.run(zipped(files), "four", split_ratios=(0.5, 0.25, 0.25))
    assert [s.image_count for s in three.splits] == [9, 5, 4] or [s.image_count for s in three.splits] == [9, 4, 5]
    all_train, _ = bench.run(zipped(files), "five", split_ratios=(1.0, 0.0))
    assert [(s.name, s.image_count) for s in all_train.splits] == [("train", 18)]


REFUSED = {
    "no images": ({"data.yaml": YAML, "labels/train/a.txt": "0 .5 .5 .1 .1"}, {}, Reason.NO_IMAGES),
    "nothing": ({"readme.md": "hello"}, {}, Reason.NO_IMAGES),
    "no labels": ({"images/a.jpg": picture(1), "images/b.jpg": picture(2)}, {}, Reason.NO_LABELS),
    "only bad labels": (
        {**{k: v for k, v in good_set().items() if "labels" not in k}, "labels/train/train0.txt": "0 nan .5 .1 .1"},
        {},
        Reason.NO_LABELS,
    ),
    "only empty labels": (
        {**{k: v for k, v in good_set().items() if "labels" not in k}, "labels/train/train0.txt": ""},
        {},
        Reason.NO_LABELS,
    ),
    "only corrupt images": ({**good_set(), **{k: b"\xff\xd8\xff\xe0" for k in good_set() if k.endswith("jpg")}}, {}, Reason.NO_IMAGES),
    "no classes": ({k: v for k, v in good_set().items() if k != "data.yaml"}, {}, Reason.CLASSES_UNKNOWN),
    "another format": ({"a.jpg": picture(1), "a.json": "{}"}, {}, Reason.FORMAT_UNKNOWN),
    "not voc": (good_set(), {"format": "voc"}, Reason.NO_LABELS),
    "a split left empty": ({**good_set(), "images/val/val0.jpg": b"x", "images/val/val1.jpg": b"x"}, {}, Reason.SPLIT_EMPTY),
    "too few to split": ({"images/a.jpg": picture(1), "labels/a.txt": "0 .5 .5 .1 .1", "classes.txt": "a"}, {}, Reason.SPLIT_EMPTY),
    "an xml bomb": (
        {"JPEGImages/a.jpg": picture(1), "Annotations/a.xml": '<!DOCTYPE a [<!ENTITY x "y">]><annotation><object/></annotation>'},
        {},
        Reason.ANNOTATION_BOMB,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_source_leaves_nothing_but_its_record(bench, case):
    files, options, reason = REFUSED[case]
    with pytest.raises(YardError) as caught:
        bench.run(zipped(files), **options)
    assert caught.value.reason is reason
    assert len(str(caught.value)) > 20
    assert all(key.startswith("projects/default/importJobs/") for key in bench.listing())
    assert not bench.uploads.held


def test_a_giant_image_costs_nothing(bench):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    giant = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)) + chunk(b"IEND", b"")
    version, context = bench.run(zipped({**good_set(), "images/train/train0.png": giant, "images/train/train0.jpg": picture(0)}))
    assert "IMAGE_TOO_LARGE" in codes(bench.report(context))
    assert version.image_count == 6


def test_a_limit_on_pixels_can_be_set(bench):
    with pytest.raises(YardError) as caught:
        bench.run(zipped(good_set()), limits=ImportLimits(image_pixels=100))
    assert caught.value.reason is Reason.NO_IMAGES


def test_what_is_odd_about_the_list_of_files_is_listed_and_nothing_is_mixed_up(bench):
    """Two pictures whose names differ in case only keep their own labels; an archive inside is named and not opened."""
    pair = {"images/train/a.JPG": picture(71), "images/train/A.jpg": picture(72)}
    rows = {"labels/train/a.txt": "0 0.5 0.5 0.1 0.1\n", "labels/train/A.txt": "1 0.5 0.5 0.9 0.9\n"}
    version, context = bench.run(zipped({**good_set(), **pair, **rows, "more.zip": zipped(good_set(2))}))
    assert (version.image_count, version.label_count) == (8, 8)
    report = bench.report(context)
    listed = [(finding["code"], finding["file"]) for finding in report["findings"]]
    assert ("NESTED_ARCHIVE", "more.zip") in listed
    assert {file for code, file in listed if code == "PATHS_ALIKE"} == {"images/train/A.jpg", "labels/train/A.txt"}
    for path, class_id in (("images/train/a.JPG", 0), ("images/train/A.jpg", 1)):
        [row] = [row for row in bench.rows(version) if row.sha256 == hashlib.sha256(pair[path]).hexdigest()]
        assert [label[0] for label in row.labels] == [class_id]


def test_a_source_without_images_still_names_the_archive_inside(bench):
    context = bench.context(bench.spec(zipped({"data/images.zip": zipped(good_set()), "data/readme.txt": "see inside"})))
    with pytest.raises(YardError):
        run_import(context, bench.uploads, ImportLimits())
    assert "NESTED_ARCHIVE" in codes(bench.report(context))


def test_a_worker_that_fetches_nothing_says_so(bench):
    spec = ImportSpec(ResourceName("default", "datasets", "set"), None, source_url="https://a.example/x.zip")
    with pytest.raises(YardError) as caught:
        run_import(bench.context(spec), bench.uploads, ImportLimits())
    assert caught.value.reason is Reason.SOURCE_NOT_ALLOWED
    assert ImportSpec.from_json(spec.to_json()) == spec


def held_bytes(bench):
    return sum(
        entry.size for entry in bench.store.list("projects/default/") if "/importJobs/" not in entry.key and "/pins/" not in entry.key
    )


def test_a_shard_that_is_on_its_way_counts_for_the_quota(bench, monkeypatch):
    """A listing does not show it yet; the next shard may not take its room."""
    archive, limit = zipped(good_set(12)), 50_000
    bench.store.put("projects/default/blobs/archive", bytes(len(archive)))  # what goes when the job ends counts, and is taken off again
    monkeypatch.setattr("visionyard.dataset.import_attempt.ShardWriter", partial(ShardWriter, limit=20_000))
    real, most = bench.store.put_file, 0

    def slow(key, path):
        nonlocal most
        time.sleep(0.2)
        real(key, path)
        most = max(most, held_bytes(bench) - len(archive))

    monkeypatch.setattr(bench.store, "put_file", slow)
    with pytest.raises(YardError) as caught:
        bench.run(archive, limits=ImportLimits(project_bytes=limit))
    assert caught.value.reason is Reason.QUOTA_EXCEEDED
    assert 20_000 < most <= limit


def test_a_version_made_of_others_counts_for_the_quota(bench):
    """Its manifest and report are bytes too; without a bound, curating would fill the store a manifest at a time."""
    version, _ = bench.run(zipped(good_set()))
    derivation = Derivation("split", (version.name,), {"ratios": [0.5, 0.5], "seed": 1, "group_pattern": "", "group_similar": False})
    context = bench.context(ImportSpec(version.name.parent, None, derivation=derivation))
    before = [key for key in bench.listing() if "/importJobs/" not in key]
    with pytest.raises(YardError) as caught:
        run_import(context, bench.uploads, ImportLimits(project_bytes=held_bytes(bench) + 1000))
    assert caught.value.reason is Reason.QUOTA_EXCEEDED
    assert [key for key in bench.listing() if "/importJobs/" not in key] == before
