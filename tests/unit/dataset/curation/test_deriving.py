"""Versions made of other versions: from manifests alone, nothing stored again."""

import json
import re
from collections import Counter

import pytest
from tests.unit.dataset.conftest import good_set, picture, zipped

from visionyard.dataset.curation.diffing import diff
from visionyard.kit.artifacts.dataset import iterate_manifest
from visionyard.kit.errors import Reason, YardError


def yolo(names, images):
    """A set of those classes; images: path below images/ -> (seed, label rows)."""
    files = {"data.yaml": f"train: images/train\nval: images/val\nnames: [{', '.join(names)}]\n"}
    for path, (seed, rows) in images.items():
        files[f"images/{path}.jpg"] = picture(seed)
        files[f"labels/{path}.txt"] = "".join(f"{row}\n" for row in rows)
    return zipped(files)


@pytest.fixture
def cats(bench):
    images = {"train/a": (1, ["0 .5 .5 .2 .2"]), "train/b": (2, ["1 .5 .5 .2 .2", "0 .2 .2 .1 .1"]), "val/c": (3, ["1 .5 .5 .2 .2"])}
    return bench.run(yolo(["cat", "dog"], images), "cats")[0]


@pytest.fixture
def cars(bench):
    images = {
        "train/a": (11, ["1 .5 .5 .2 .2"]),
        "train/d": (12, ["0 .4 .4 .2 .2"]),
        "val/e": (13, ["1 .5 .5 .2 .2"]),
        "val/b": (2, ["0 .7 .7 .2 .2"]),
    }
    return bench.run(yolo(["car", "dog"], images), "cars")[0]


def boxes(bench, version):
    """(split, name) -> sorted (class name, cx)."""
    return {(r.split, r.name): sorted((version.class_names[b.class_id], b.cx) for b in r.labels) for r in bench.rows(version)}


def test_a_merge_puts_classes_together_by_name_and_images_by_their_bytes(bench, cats, cars):
    before = set(bench.listing())
    merged, report = bench.derive("merge", cats, cars, dataset="both", class_names={})
    assert merged.class_names == ("cat", "dog", "car")
    assert boxes(bench, merged) == {
        ("train", "a.jpg"): [("cat", 0.5)],
        ("train", "cars-train-a.jpg"): [("dog", 0.5)],
        ("train", "b.jpg"): [("car", 0.7), ("cat", 0.2), ("dog", 0.5)],
        ("train", "d.jpg"): [("car", 0.4)],
        ("val", "c.jpg"): [("dog", 0.5)],
        ("val", "e.jpg"): [("dog", 0.5)],
    }
    assert Counter(f["code"] for f in report["findings"]) == {"LABELS_JOINED": 1, "SPLIT_LEAKAGE": 1}
    assert report["labels"] == {"found": 8, "kept": 8, "dropped": 0}
    assert not [key for key in set(bench.listing()) - before if "/shards/" in key or "/index/" in key]
    assert merged.origin == {"operation": "merge", "sources": [str(cats.name), str(cars.name)], "parameters": {"class_names": {}}}


def test_a_merge_may_rename_classes_first(bench, cats, cars):
    merged, _ = bench.derive("merge", cats, cars, dataset="both", class_names={"cat": "animal", "dog": "animal"})
    assert merged.class_names == ("animal", "car")


def test_a_merge_of_a_version_with_itself_changes_nothing(bench, cats):
    merged, report = bench.derive("merge", cats, cats, dataset="twice", class_names={})
    assert merged.digest == cats.digest
    assert report["labels"] == {"found": 8, "kept": 4, "dropped": 4}
    assert report["dropped_by_code"] == {"DUPLICATE_BOX": 4}


def test_versions_for_different_tasks_are_not_merged(bench, cats):
    polygons = {"train/p": (21, ["0 .1 .1 .5 .1 .3 .5"]), "val/q": (22, ["0 .1 .1 .5 .1 .3 .5"])}
    other, _ = bench.run(yolo(["cat"], polygons), "shapes")
    assert other.task == "segment"
    before = bench.listing()
    with pytest.raises(YardError, match=r"is for segment and .* for detect") as caught:
        bench.derive("merge", cats, other, dataset="both", class_names={})
    assert caught.value.reason is Reason.VERSIONS_MISMATCH
    assert [key for key in bench.listing() if "/attempts/" not in key] == [key for key in before if "/attempts/" not in key]


def test_a_filter_keeps_the_asked_classes(bench, cats):
    kept, report = bench.derive("filter", cats, classes=["dog"], drop_empty=False)
    assert kept.name.number == 2
    assert kept.class_names == ("dog",)
    assert boxes(bench, kept) == {("train", "a.jpg"): [], ("train", "b.jpg"): [("dog", 0.5)], ("val", "c.jpg"): [("dog", 0.5)]}
    assert report["labels"] == {"found": 4, "kept": 2, "dropped": 2}
    assert report["dropped_by_code"] == {"CLASS_FILTERED": 2}
    dropped, report = bench.derive("filter", cats, classes=["dog"], drop_empty=True)
    assert sorted(boxes(bench, dropped)) == [("train", "b.jpg"), ("val", "c.jpg")]
    assert report["images"] == {"found": 3, "kept": 2, "dropped": 1}


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [("filter", {"classes": ["cow"], "drop_empty": False}), ("remap", {"class_names": {"cow": "x"}, "single_class": ""})],
)
def test_a_class_that_is_not_there_is_refused_by_name(bench, cats, operation, parameters):
    with pytest.raises(YardError, match=re.escape("there is no class 'cow'")):
        bench.derive(operation, cats, **parameters)


def test_a_filter_that_leaves_nothing_is_refused(bench):
    empty, _ = bench.run(yolo(["cat", "dog"], {"train/a": (1, ["0 .5 .5 .2 .2"]), "val/b": (2, ["0 .5 .5 .2 .2"])}), "one")
    with pytest.raises(YardError) as caught:
        bench.derive("filter", empty, classes=["dog"], drop_empty=True)
    assert caught.value.reason is Reason.NO_IMAGES


def test_a_remap_renames_and_joins(bench, cats):
    renamed, _ = bench.derive("remap", cats, class_names={"dog": "cat"}, single_class="")
    assert renamed.class_names == ("cat",)
    assert renamed.label_count == 4
    single, _ = bench.derive("remap", cats, class_names={}, single_class="object")
    assert single.class_names == ("object",)
    assert single.label_count == 4


def test_a_remap_that_makes_two_labels_one_lists_it(bench):
    both = {"train/a": (1, ["0 .5 .5 .2 .2", "1 .5 .5 .2 .2"]), "val/b": (2, ["0 .5 .5 .2 .2"])}
    version, _ = bench.run(yolo(["cat", "dog"], both), "set")
    joined, report = bench.derive("remap", version, class_names={}, single_class="animal")
    assert joined.label_count == 2
    assert report["dropped_by_code"] == {"DUPLICATE_BOX": 1}


def many(bench, count=60):
    files = good_set(count)
    return bench.run(zipped(files), "many")[0]


def test_a_split_is_the_same_for_the_same_seed_and_holds_just_its_numbers(bench):
    version = many(bench)
    one, _ = bench.derive("split", version, ratios=[0.5, 0.25, 0.25], seed=7, group_pattern="", group_similar=False)
    assert {s.name: s.image_count for s in one.splits} == {"train": 45, "val": 23, "test": 22}
    other, _ = bench.derive("split", version, ratios=[0.5, 0.25, 0.25], seed=8, group_pattern="", group_similar=False)
    assert other.digest != one.digest
    again, _ = bench.derive("split", version, ratios=[0.5, 0.25, 0.25], seed=7, group_pattern="", group_similar=False)
    assert again.digest == one.digest


def test_a_split_keeps_images_of_one_key_together(bench):
    files = {"data.yaml": "train: images/train\nval: images/val\nnames: [a]\n"}
    for patient in range(12):
        for scan in range(5):
            split = "val" if scan == 0 else "train"
            files[f"images/{split}/p{patient:02}_{scan}.jpg"] = picture(100 * patient + scan)
            files[f"labels/{split}/p{patient:02}_{scan}.txt"] = "0 .5 .5 .2 .2\n"
    version, _ = bench.run(zipped(files), "scans")
    drawn, report = bench.derive("split", version, ratios=[0.75, 0.25], seed=1, group_pattern=r"^(p\d+)_", group_similar=False)
    splits = {}
    for row in bench.rows(drawn):
        splits.setdefault(row.name[:3], set()).add(row.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {s.name: s.image_count for s in drawn.splits} == {"train": 45, "val": 15}
    assert "kept together" in report["split_reason"]


@pytest.mark.parametrize("pattern", ["(", "(?=x)", "*"])
def test_a_pattern_that_cannot_be_read_is_refused(bench, cats, pattern):
    with pytest.raises(YardError, match=r"no regular expression of RE2's: [a-z]") as caught:
        bench.derive("split", cats, ratios=[0.5, 0.5], seed=0, group_pattern=pattern, group_similar=False)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert "b'" not in caught.value.message


def test_a_subset_holds_just_so_many_images(bench):
    version = many(bench)
    for size in (1, 10, 89, 90):
        drawn, _ = bench.derive("subset", version, size=size, seed=3)
        assert drawn.image_count == size
    ten, _ = bench.derive("subset", version, size=10, seed=3)
    assert {s.name: s.image_count for s in ten.splits} == {"train": 7, "val": 3}
    assert bench.derive("subset", version, size=10, seed=3)[0].digest == ten.digest
    with pytest.raises(YardError, match="holds 90 images"):
        bench.derive("subset", version, size=91, seed=3)


def compare(bench, one, other):
    return diff(one, other, iterate_manifest(bench.store, one), iterate_manifest(bench.store, other))


def test_a_diff_tells_what_came_went_and_changed(bench, cats):
    images = {
        "train/a": (1, ["0 .5 .5 .2 .2"]),
        "val/b": (2, ["1 .5 .5 .2 .2", "0 .2 .2 .1 .1"]),
        "val/c": (3, ["0 .5 .5 .2 .2"]),
        "train/new": (4, ["1 .5 .5 .2 .2"]),
    }
    other, _ = bench.run(yolo(["cat", "dog"], images), "cats")
    found = compare(bench, cats, other)
    assert (found.added.images, found.removed.images, found.relabelled.images, found.moved.images) == (
        ["train/new.jpg"],
        [],
        ["val/c.jpg"],
        ["val/b.jpg"],
    )
    assert found.unchanged == 1
    assert found.classes == {"cat": (2, 3), "dog": (2, 2)}
    back = compare(bench, other, cats)
    assert (back.added.count, back.removed.images) == (0, ["train/new.jpg"])


def test_renumbered_classes_are_no_difference(bench, cats):
    images = {"train/a": (1, ["1 .5 .5 .2 .2"]), "train/b": (2, ["0 .5 .5 .2 .2", "1 .2 .2 .1 .1"]), "val/c": (3, ["0 .5 .5 .2 .2"])}
    other, _ = bench.run(yolo(["dog", "cat"], images), "cats")
    found = compare(bench, cats, other)
    assert found.unchanged == 3
    assert not found.relabelled.count


def folders(**images):
    """A classification set: stem -> (split, class, seed)."""
    return zipped({f"{split}/{name}/{stem}.jpg": picture(seed) for stem, (split, name, seed) in images.items()})


def test_a_picture_that_two_versions_class_differently_keeps_one_class(bench):
    """A picture of a classification set has one class: the first version's, and the other is listed."""
    one, _ = bench.run(folders(a=("train", "cat", 1), b=("train", "dog", 2), c=("val", "cat", 3), d=("val", "dog", 4)), "one")
    two, _ = bench.run(folders(a=("train", "dog", 1), b=("train", "dog", 2), c=("val", "cat", 13), d=("val", "dog", 14)), "two")
    merged, report = bench.derive("merge", one, two, dataset="both", class_names={})
    classes = {row.name: [merged.class_names[label.class_id] for label in row.labels] for row in bench.rows(merged)}
    assert all(len(found) == 1 for found in classes.values())
    assert classes["a.jpg"] == ["cat"]
    [finding] = [f for f in report["findings"] if f["code"] == "CLASSES_DIFFER"]
    assert "'dog'" in finding["message"]
    assert "'cat'" in finding["message"]
    assert report["labels"] == {"found": 8, "kept": 6, "dropped": 2}
    assert report["dropped_by_code"] == {"CLASSES_DIFFER": 1, "DUPLICATE_BOX": 1}


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_filter_that_empties_a_split_is_refused(bench, split):
    """A version without train cannot be trained on, and one that lost val would be measured on what it was trained on."""
    other = "val" if split == "train" else "train"
    images = {f"{split}/a": (1, ["0 .5 .5 .2 .2"]), f"{other}/b": (2, ["1 .5 .5 .2 .2"]), f"{other}/c": (3, ["0 .5 .5 .2 .2"])}
    version, _ = bench.run(yolo(["cat", "dog"], images), "set")
    with pytest.raises(YardError, match=f"no image of the {split} split") as caught:
        bench.derive("filter", version, classes=["dog"], drop_empty=True)
    assert caught.value.reason is Reason.SPLIT_EMPTY


def test_a_subset_never_loses_train(bench):
    images = {"train/a": (1, ["0 .5 .5 .2 .2"])} | {f"val/v{i}": (10 + i, ["0 .5 .5 .2 .2"]) for i in range(19)}
    version, _ = bench.run(yolo(["cat"], images), "set")
    with pytest.raises(YardError, match="no image of the train split") as caught:
        bench.derive("subset", version, size=2, seed=1)
    assert caught.value.reason is Reason.SPLIT_EMPTY


def test_what_a_subset_leaves_out_is_counted(bench):
    _, report = bench.derive("subset", many(bench), size=10, seed=3)
    assert report["labels"]["dropped"] == sum(report["dropped_by_code"].values()) == 80
    assert report["dropped_by_code"] == {"NOT_IN_SUBSET": 80}


def test_a_pattern_that_fits_no_name_is_refused(bench, cats):
    """Else the images would be drawn one by one, and the user believe that they were kept together."""
    with pytest.raises(YardError, match=r"fits none of the 3 images' names \('[abc]\.jpg'") as caught:
        bench.derive("split", cats, ratios=[0.5, 0.5], seed=0, group_pattern=r"^patient(\d+)", group_similar=False)
    assert caught.value.reason is Reason.INVALID_FIELD


def test_images_whose_names_a_pattern_does_not_fit_are_counted(bench):
    images = {f"train/p{i // 2}_{i}": (i, ["0 .5 .5 .2 .2"]) for i in range(10)} | {"val/odd": (50, ["0 .5 .5 .2 .2"])}
    version, _ = bench.run(yolo(["cat"], images), "set")
    _, report = bench.derive("split", version, ratios=[0.5, 0.5], seed=0, group_pattern=r"^p(\d+)_", group_similar=False)
    assert "fits 10 of 11" in report["split_reason"]


def predicted(*images):
    """What `yard predict --json` printed with its images: stem, seed, class and confidence of a box in the middle of each."""
    lines = []
    files = {}
    for stem, seed, name, confidence in images:
        files[f"images/{stem}.jpg"] = picture(seed)
        box = {"x1": 25.6, "y1": 19.2, "x2": 38.4, "y2": 28.8}
        detection = {"class_id": 0, "class_name": name, "confidence": confidence, "box": box}
        result = {"detection": {"detections": [detection]}, "image_width_px": 64, "image_height_px": 48}
        lines.append(json.dumps({"image": f"images/{stem}.jpg", "prediction": result}))
    files["predictions.jsonl"] = "\n".join(lines) + "\n"
    return zipped(files)


@pytest.mark.parametrize("first", ["guess", "truth"])
def test_a_label_that_a_person_confirmed_stays_confirmed_in_a_merge(bench, first):
    guess, _ = bench.run(predicted(("a", 1, "cat", 0.6), ("b", 2, "cat", 0.7), ("c", 3, "cat", 0.8)), "guess")
    truth, _ = bench.run(yolo(["cat"], {"train/a": (1, ["0 .5 .5 .2 .2"]), "val/z": (9, ["0 .5 .5 .2 .2"])}), "truth")
    order = (guess, truth) if first == "guess" else (truth, guess)
    merged, _ = bench.derive("merge", *order, dataset="both", class_names={})
    labels = {row.name: [label.confidence for label in row.labels] for row in bench.rows(merged)}
    assert labels["a.jpg"] == [None]
    assert labels["b.jpg"] == [0.7]


def test_a_label_that_a_person_made_stays_where_a_remap_makes_a_predicted_one_its_equal(bench):
    guess, _ = bench.run(predicted(("a", 1, "truck", 0.6), ("b", 2, "truck", 0.7)), "guess")
    truth, _ = bench.run(yolo(["car"], {"train/a": (1, ["0 .5 .5 .2 .2"]), "val/z": (9, ["0 .5 .5 .2 .2"])}), "truth")
    both, _ = bench.derive("merge", truth, guess, dataset="both", class_names={})
    assert sorted(len(row.labels) for row in bench.rows(both)) == [1, 1, 2]
    one, _ = bench.derive("remap", both, class_names={}, single_class="vehicle")
    assert {row.name: [label.confidence for label in row.labels] for row in bench.rows(one)} == {
        "a.jpg": [None],
        "b.jpg": [0.7],
        "z.jpg": [None],
    }
