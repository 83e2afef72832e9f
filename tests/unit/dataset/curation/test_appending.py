"""Images added to a version: only what is new is stored, what is there gets the new labels."""

import json
import re
from collections import Counter

import pytest
from tests.unit.dataset.conftest import good_set, picture, zipped

from visionyard.dataset.downloads import download
from visionyard.kit.errors import Reason, YardError


def codes(report):
    return Counter(finding["code"] for finding in report["findings"])


@pytest.fixture
def base(bench):
    return bench.run(zipped(good_set(8)))[0]


def more(names="thing, other", **images):
    """Images without splits: stem -> (seed, rows)."""
    files = {"classes.txt": "\n".join(name.strip() for name in names.split(","))}
    for stem, (seed, rows) in images.items():
        files[f"images/{stem}.jpg"] = picture(seed)
        files[f"labels/{stem}.txt"] = "".join(f"{row}\n" for row in rows)
    return zipped(files)


def test_new_images_join_and_nothing_else_is_stored(bench, base):
    before = {key for key in bench.listing() if "/shards/" in key}
    version, context = bench.run(more(extra=(500, ["1 .5 .5 .2 .2"])), append=True)
    assert (version.image_count, version.name.number) == (13, 2)
    [shard] = {key for key in bench.listing() if "/shards/" in key} - before
    assert bench.store.head(shard).size < 3 * 512 + len(picture(500)) + 4096
    assert version.origin["operation"] == "append"
    assert version.origin["sources"] == [str(base.name)]
    report = bench.report(context)
    assert report["images"] == {"found": 1, "kept": 1, "dropped": 0}
    assert "too few to be spread" in report["split_reason"]


def test_an_image_that_is_there_gets_the_new_labels_and_keeps_its_place(bench, base):
    version, context = bench.run(more(renamed=(0, ["1 .3 .3 .1 .1"])), append=True)
    assert version.image_count == base.image_count
    row = next(row for row in bench.rows(version) if row.name == "train0.jpg")
    assert (row.split, [label[:2] for label in row.labels]) == ("train", [(1, 0.3)])
    assert codes(bench.report(context)) == {"RELABELLED": 1}


def test_new_classes_come_behind_those_that_are_there(bench, base):
    version, _ = bench.run(more("other, third", extra=(500, ["0 .5 .5 .2 .2", "1 .2 .2 .1 .1"])), append=True)
    assert version.class_names == ("thing", "other", "third")
    row = next(row for row in bench.rows(version) if row.name == "extra.jpg")
    assert sorted(label.class_id for label in row.labels) == [1, 2]


def test_an_image_that_is_there_already_changes_nothing(bench, base):
    version, context = bench.run(more(same=(0, ["0 .5 .5 .25 .25"])), append=True)
    assert version.digest == base.digest
    assert codes(bench.report(context)) == {"VERSION_UNCHANGED": 1}


def test_many_new_images_are_drawn_in_the_version_s_shares(bench, base):
    images = {f"n{i:02}": (600 + i, [f"{i % 2} .5 .5 .2 .2"]) for i in range(30)}
    version, _ = bench.run(more(**images), append=True)
    assert {s.name: s.image_count for s in version.splits} == {"train": 8 + 20, "val": 4 + 10}


def test_a_name_that_is_taken_is_given_to_nobody_else(bench, base):
    version, _ = bench.run(more(train0=(700, ["0 .5 .5 .2 .2"])), append=True)
    names = sorted(row.name for row in bench.rows(version) if "train0" in row.name)
    assert names == ["images-train0.jpg", "train0.jpg"]
    assert (
        next(row for row in bench.rows(version) if row.name == "train0.jpg").sha256
        == next(row for row in bench.rows(base) if row.name == "train0.jpg").sha256
    )


def test_labels_of_another_task_are_refused(bench, base):
    bench.run(
        zipped(
            {
                "data.yaml": "train: images\nnames: [a]\n",
                "images/a.jpg": picture(1),
                "images/b.jpg": picture(2),
                "labels/a.txt": "0 .1 .1 .5 .1 .3 .5\n",
                "labels/b.txt": "0 .1 .1 .5 .1 .3 .5\n",
            }
        ),
        "shapes",
    )
    with pytest.raises(YardError, match="is for detect") as caught:
        bench.run(more(extra=(500, ["0 .1 .1 .5 .1 .3 .5"])), append=True, task="segment")
    assert caught.value.reason is Reason.VERSIONS_MISMATCH


def test_images_of_the_same_bytes_all_stay(bench):
    """Whether the new images touch them or not: what was held twice, under two names or in two splits, is held twice."""
    files = good_set(4)
    files["images/train/train3.jpg"] = files["images/train/train1.jpg"]
    files["images/val/val0.jpg"] = files["images/train/train0.jpg"]
    base, _ = bench.run(zipped(files))
    before = {(row.split, row.name) for row in bench.rows(base)}
    added, _ = bench.run(more(extra=(500, ["1 .5 .5 .2 .2"])), append=True)
    assert {(row.split, row.name) for row in bench.rows(added)} == before | {("train", "extra.jpg")}
    relabelled, context = bench.run(more(same=(0, ["1 .3 .3 .1 .1"]), twice=(1, ["1 .4 .4 .1 .1"])), append=True)
    assert {(row.split, row.name) for row in bench.rows(relabelled)} == before | {("train", "extra.jpg")}
    boxes = {(row.split, row.name): [label[:2] for label in row.labels] for row in bench.rows(relabelled)}
    assert boxes["train", "train0.jpg"] == boxes["val", "val0.jpg"] == [(1, 0.3)]
    assert boxes["train", "train1.jpg"] == boxes["train", "train3.jpg"] == [(1, 0.4)]
    assert codes(bench.report(context))["RELABELLED"] == 4


def downloaded(bench, version, layout):
    files, path = {}, ""
    for part in download(bench.store, version, layout).parts:
        path = part.path or path
        files[path] = files.get(path, b"") + part.data
    return files


def cleared(files, layout, names):
    """The download as a person gives it back who deleted every label of these images."""
    if layout == "cvat":
        text = files["annotations.xml"].decode()
        for name in names:
            text = re.sub(rf'(<image [^>]*name="{name}"[^>]*>).*?(</image>)', r"\1\2", text, flags=re.DOTALL)
        return {**files, "annotations.xml": text}
    if layout == "coco":
        annotations = {path: json.loads(data) for path, data in files.items() if path.endswith(".json")}
        for content in annotations.values():
            gone = {image["id"] for image in content["images"] if image["file_name"].rpartition("/")[2] in names}
            content["annotations"] = [a for a in content["annotations"] if a["image_id"] not in gone]
        return {**files, **{path: json.dumps(content) for path, content in annotations.items()}}
    tasks = json.loads(files["tasks.json"])
    for task in tasks:
        if task["data"]["image"].rpartition("/")[2] in names:
            task["annotations"] = [{"result": []}]
    return {**files, "tasks.json": json.dumps(tasks)}


@pytest.mark.parametrize("layout", ["cvat", "coco", "labelstudio"])
def test_an_image_that_a_person_cleared_of_labels_is_cleared(bench, base, layout):
    """The file lists it and says that nothing is on it, as a label file without rows does; that is not the same as no label file."""
    files = cleared(downloaded(bench, base, layout), layout, {"train0.jpg"})
    version, context = bench.run(zipped(files), append=True)
    counts = {row.name: len(row.labels) for row in bench.rows(version)}
    assert counts["train0.jpg"] == 0
    assert set(counts.values()) == {0, 1}
    assert sum(counts.values()) == base.label_count - 1
    [finding] = [f for f in bench.report(context)["findings"] if f["code"] == "RELABELLED" and "train0.jpg" in f["message"]]
    assert "1 before, 0 now" in finding["message"]


def test_all_images_of_an_export_may_be_cleared(bench, base):
    files = cleared(downloaded(bench, base, "cvat"), "cvat", {"train0.jpg"})
    only = {path: data for path, data in files.items() if path == "annotations.xml" or path.endswith("/train0.jpg")}
    only["annotations.xml"] = re.sub(r'  <image (?![^>]*name="train0.jpg").*?</image>\n', "", only["annotations.xml"], flags=re.DOTALL)
    version, _ = bench.run(zipped(only), append=True)
    assert {row.name: len(row.labels) for row in bench.rows(version)}["train0.jpg"] == 0
    assert version.label_count == base.label_count - 1
    with pytest.raises(YardError) as caught:
        bench.run(zipped(only), "new")
    assert caught.value.reason is Reason.NO_LABELS


@pytest.mark.parametrize("layout", ["cvat", "coco", "labelstudio", "voc", "yolo"])
def test_what_came_back_unchanged_is_no_change(bench, layout):
    """A tool writes pixels or percents with so many digits; what differs by less than a hundredth of a pixel was not relabelled."""
    rows = ["0 .123456789 .3333333333 .1234567 .0987654", "1 .7654321 .654321 .111111 .222222"]
    base, _ = bench.run(more(a=(1, rows), b=(2, rows), c=(3, rows), d=(4, rows), e=(5, rows)))
    version, context = bench.run(zipped(downloaded(bench, base, layout)), append=True)
    assert version.digest == base.digest, bench.report(context)["findings"]
    assert codes(bench.report(context))["RELABELLED"] == 0


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_images_of_one_split_only_join_it(bench, base, split):
    """As the least certain images do, which may all be of one: the source tells where they belong, and there is nothing to be drawn."""
    files = {"data.yaml": f"{split}: images/{split}\nnames: [thing, other]\n"}
    for i in range(6):
        files |= {f"images/{split}/n{i}.jpg": picture(800 + i), f"labels/{split}/n{i}.txt": "0 .5 .5 .2 .2\n"}
    version, context = bench.run(zipped(files), append=True)
    assert {row.split for row in bench.rows(version) if row.name.startswith("n")} == {split}
    assert bench.report(context)["split_reason"] == f"source: {split}"
