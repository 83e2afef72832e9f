"""What --fix mends, what it never does, and that the counts reconcile whatever is wrong with a set."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.dataset.conftest import BOX, Bench, good_set, picture, voc, zipped

from visionyard.kit.errors import Reason, YardError

NAMES = 'train: images/train\nval: images/val\nnames: [thing, "traffic light", "traffic  light"]\n'
ROWS = (
    "0 0.5 0.5 0.2 0.2",
    "1 0.25 0.25 0.1 0.1",
    "2 0.25 0.25 0.1 0.1",
    "0 0.95 0.5 0.11 0.2",
    "0 1.4 0.5 0.2 0.2",
    "0 0.5 0.5 0 0.2",
    "0 0.5 0.5 -0.2 0.2",
    "1 1.4 0.5 -0.2 -0.2",
    "0 nan 0.5 0.2 0.2",
    "7 0.5 0.5 0.2 0.2",
    "zero point five",
)
"""Good and bad ones; the second and third are one where class names that blanks tell apart become one, the seventh is the first with swapped corners."""

images = st.tuples(
    st.sampled_from(["train", "val"]),
    st.one_of(st.none(), st.lists(st.sampled_from(ROWS), max_size=6)),
    st.integers(0, 5),  # few pictures, so that some have the same bytes
    st.booleans(),
)


def sick_set(planted, orphans):
    files = {"data.yaml": NAMES, **{f"images/{s}/fine.jpg": picture(100 + i) for i, s in enumerate(("train", "val"))}}
    files |= {f"labels/{s}/fine.txt": BOX for s in ("train", "val")}
    rows = 2
    for i, (split, labels, seed, corrupt) in enumerate(planted):
        data = picture(seed)
        files[f"images/{split}/{i}.jpg"] = data[: len(data) // 3] if corrupt else data
        if labels is not None:
            files[f"labels/{split}/{i}.txt"] = "".join(f"{row}\n" for row in labels)
            rows += len(labels)
    for i, labels in enumerate(orphans):
        files[f"labels/train/orphan{i}.txt"] = "".join(f"{row}\n" for row in labels)
        rows += len(labels)
    return files, rows


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    planted=st.lists(images, max_size=8), orphans=st.lists(st.lists(st.sampled_from(ROWS[:7]), max_size=3), max_size=2), fix=st.booleans()
)
def test_the_counts_reconcile_whatever_is_wrong(tmp_path_factory, planted, orphans, fix):
    bench = Bench(tmp_path_factory.mktemp("scratch"))
    files, rows = sick_set(planted, orphans)
    version, context = bench.run(zipped(files), fix=fix)
    report = bench.report(context, whole=True)
    assert report["labels"]["found"] == rows
    assert report["images"]["found"] == 2 + len(planted)
    for count in (report["images"], report["labels"]):
        assert count["found"] == count["kept"] + count["dropped"]
        assert count["dropped"] >= 0
    assert sum(report["dropped_by_code"].values()) == report["labels"]["dropped"]
    assert (version.image_count, version.label_count) == (report["images"]["kept"], report["labels"]["kept"])
    held = bench.rows(version)
    assert sum(len(row.labels) for row in held) == version.label_count == sum(c.label_count for c in version.classes)
    assert fix or not any(finding["fixed"] for finding in report["findings"])
    if fix:
        assert version.class_names == ("thing", "traffic light")
        alike = {}
        for row in held:
            labels = frozenset(label.content() for label in row.labels)
            assert alike.setdefault(row.sha256, []).count(labels) == 0, "an exact copy with the same labels stayed"
            alike[row.sha256].append(labels)


@pytest.mark.parametrize("fix", [False, True])
def test_swapped_corners(bench, fix):
    files = {f"{name}.jpg": picture(i) for i, name in enumerate("ab")}
    files |= {"a.xml": voc("a.jpg", ("x", 30, 40, 10, 20)), "b.xml": voc("b.jpg", ("x", 5, 5, 20, 20))}
    version, context = bench.run(zipped(files), fix=fix)
    report = bench.report(context)
    (finding,) = report["findings"]
    assert (finding["code"], finding["file"], finding["line"], finding["fixed"]) == ("SWAPPED_CORNERS", "a.xml", 3, fix)
    assert version.label_count == 1 + fix
    assert report["dropped_by_code"] == ({} if fix else {"SWAPPED_CORNERS": 1})
    if fix:
        (row,) = (row for row in bench.rows(version) if row.name == "a.jpg")
        (label,) = row.labels
        assert (label.cx * 64, label.cy * 48, label.w * 64, label.h * 48) == pytest.approx((20, 30, 20, 20))


def test_a_box_that_is_wrong_also_with_its_corners_in_order_is_dropped_for_that(bench):
    files = good_set()
    files["labels/train/train0.txt"] += "0 1.4 0.5 -0.2 0.2\n"
    _, context = bench.run(zipped(files), fix=True)
    report = bench.report(context)
    assert [(f["code"], f["fixed"]) for f in report["findings"]] == [("OUT_OF_RANGE", False)]
    assert report["dropped_by_code"] == {"OUT_OF_RANGE": 1}


@pytest.mark.parametrize("fix", [False, True])
def test_class_names_that_only_blanks_tell_apart(bench, fix):
    files = good_set() | {"data.yaml": NAMES}
    files["labels/train/train0.txt"] = "1 0.5 0.5 0.25 0.25\n2 0.5 0.5 0.25 0.25\n2 0.2 0.2 0.1 0.1\n"
    version, context = bench.run(zipped(files), fix=fix)
    report = bench.report(context)
    assert version.class_names == (("thing", "traffic light") if fix else ("thing", "traffic light", "traffic  light"))
    assert [f["fixed"] for f in report["findings"] if f["code"] == "CLASS_NAMES_ALIKE"] == [fix]
    assert report["dropped_by_code"] == ({"DUPLICATE_BOX": 1} if fix else {})


def test_class_names_of_other_case_stay_two_classes(bench):
    files = good_set() | {"data.yaml": "train: images/train\nval: images/val\nnames: [car, Car]\n"}
    version, context = bench.run(zipped(files), fix=True)
    assert version.class_names == ("car", "Car")
    assert [(f["code"], f["fixed"]) for f in bench.report(context)["findings"]] == [("CLASS_NAMES_ALIKE", False)]


def copies(*places):
    files = good_set() | {f"images/{place}.jpg": picture(77) for place in places}
    return files | {f"labels/{place}.txt": "0 0.3 0.3 0.2 0.2\n" for place in places}


def test_of_copies_one_stays_and_never_that_of_train_alone(bench):
    version, context = bench.run(zipped(copies("train/a", "train/b", "val/c", "val/d")), fix=True)
    assert [(row.split, row.name) for row in bench.rows(version) if row.labels[0].cx == 0.3] == [("val", "c.jpg")]
    report = bench.report(context)
    assert sorted((f["code"], f["fixed"]) for f in report["findings"]) == [
        ("DUPLICATE_IMAGE", True),
        ("SPLIT_LEAKAGE", True),
        ("SPLIT_LEAKAGE", True),
    ]
    assert report["dropped_by_code"] == {"DUPLICATE_IMAGE": 1, "SPLIT_LEAKAGE": 2}
    assert {image for f in report["findings"] for image in f["related"]} == {"val/c.jpg"}


def test_copies_with_other_labels_are_listed_and_kept(bench):
    files = copies("train/a", "val/b") | {"labels/val/b.txt": BOX}
    version, context = bench.run(zipped(files), fix=True)
    assert version.image_count == 8
    assert [(f["code"], f["fixed"], f["image"], f["related"]) for f in bench.report(context)["findings"]] == [
        ("SPLIT_LEAKAGE", False, "train/a.jpg", ["val/b.jpg"])
    ]


def test_copies_are_compared_with_every_labelling_that_is_kept(bench):
    files = copies("train/a", "train/b", "val/c") | {"labels/val/c.txt": BOX}
    version, context = bench.run(zipped(files), fix=True)
    assert {(row.split, row.name) for row in bench.rows(version)} >= {("train", "a.jpg"), ("val", "c.jpg")}
    assert version.image_count == 8
    found = {f["file"]: (f["code"], f["fixed"], f["related"]) for f in bench.report(context)["findings"]}
    assert found == {
        "images/train/a.jpg": ("SPLIT_LEAKAGE", False, ["val/c.jpg"]),
        "images/train/b.jpg": ("DUPLICATE_IMAGE", True, ["train/a.jpg"]),
    }


def test_a_train_split_that_is_all_in_val_is_not_mended_away(bench):
    files = {
        "data.yaml": NAMES,
        **{f"images/{s}/a.jpg": picture(1) for s in ("train", "val")},
        **{f"labels/{s}/a.txt": BOX for s in ("train", "val")},
    }
    with pytest.raises(YardError, match="--fix") as caught:
        bench.run(zipped(files), fix=True)
    assert caught.value.reason is Reason.SPLIT_EMPTY
    assert bench.run(zipped(files))[0].image_count == 2


@pytest.mark.parametrize(
    "options", [{"dry_run": True}, {"strict": True}, {"dry_run": True, "fix": True}, {"dry_run": True, "strict": True}]
)
def test_a_dry_run_and_a_strict_refusal_leave_only_the_jobs_own_report(bench, options):
    bench.run(zipped(good_set()))
    before = bench.listing()
    files, _ = sick_set([("train", list(ROWS), 1, False), ("val", list(ROWS[:2]), 1, True)], [ROWS[:1]])
    spec = bench.spec(zipped(files), "sick", **options)
    context = bench.context(spec)
    context.job.pointers = {}
    if options.get("strict"):
        with pytest.raises(YardError) as caught:
            bench.attempt(context)
        assert caught.value.reason is Reason.FINDINGS_REFUSED
    else:
        assert "version" not in bench.attempt(context)
    left = set(bench.listing()) - set(before)
    assert left == {f"{context.job.name}/attempts/1/report.json"}
    assert set(before) <= set(bench.listing())
    assert not bench.uploads.held
    assert {f["code"] for f in bench.report(context)["findings"]} >= {"OUT_OF_RANGE", "LABEL_WITHOUT_IMAGE"}
