"""The texts of label files, put together column by column."""

from hypothesis import given
from hypothesis import strategies as st

from visionyard.kit.artifacts.dataset import DatasetVersion, KeypointLayout
from visionyard.kit.artifacts.layout import label_texts
from visionyard.kit.artifacts.manifest import Label, ManifestRow, decode_labels, encode_manifest, label_lists
from visionyard.kit.names import ResourceName, VersionName

SHARES = st.floats(0, 1)


def version(task, keypoints=None):
    name = VersionName(ResourceName("p", "datasets", "d"), 1)
    return DatasetVersion(name, "sha256:0", task, 1, 1, (), (), 0, 0, "yolo", "", "", "", keypoints)


def labels(points):
    return st.lists(st.builds(Label, st.integers(0, 1000), SHARES, SHARES, SHARES, SHARES, points), max_size=4).map(tuple)


def corners(count):
    return st.tuples(*[SHARES] * count)


def read(text):
    return [tuple(map(float, line.split(" "))) for line in text.splitlines()]


@given(st.lists(labels(st.just(())), max_size=5))
def test_boxes_are_read_as_they_were(images):
    texts = label_texts(label_lists(images), version("detect"))
    assert [read(text) for text in texts] == [[tuple(label[:5]) for label in image] for image in images]
    assert all(text == "" or text.endswith("\n") for text in texts)


@given(st.lists(labels(corners(6) | corners(8)), max_size=5), st.sampled_from(["segment", "obb"]))
def test_corners_are_read_as_they_were(images, task):
    texts = label_texts(label_lists(images), version(task))
    assert [read(text) for text in texts] == [[(label.class_id, *label.points) for label in image] for image in images]


@given(
    st.lists(labels(st.tuples(SHARES, SHARES, st.sampled_from([0.0, 1.0, 2.0]), SHARES, SHARES, st.sampled_from([0.0, 2.0]))), max_size=5)
)
def test_visibilities_are_whole_numbers(images):
    texts = label_texts(label_lists(images), version("pose", KeypointLayout(2, 3)))
    assert [read(text) for text in texts] == [[(*label[:5], *label.points) for label in image] for image in images]
    for line in "".join(texts).splitlines():
        assert {line.split(" ")[7], line.split(" ")[10]} <= {"0", "1", "2"}


@given(st.lists(labels(corners(4)), max_size=5))
def test_keypoints_without_visibility_are_read_as_they_were(images):
    texts = label_texts(label_lists(images), version("pose", KeypointLayout(2, 2)))
    assert [read(text) for text in texts] == [[(*label[:5], *label.points) for label in image] for image in images]


@given(st.lists(labels(corners(6)), min_size=1, max_size=9))
def test_texts_come_likewise_from_a_part_of_a_stored_manifest(images):
    rows = [ManifestRow(f"{at:064x}", f"{at}.jpg", "train", 640, 480, "shard", at, 1, image) for at, image in enumerate(images)]
    told = []
    for splits, names, column in decode_labels(encode_manifest(rows, {}), 2):
        assert len(splits) <= 2
        told += zip(splits, names, label_texts(column, version("segment")), strict=True)
    assert told == [("train", row.name, text) for row, text in zip(rows, label_texts(label_lists(images), version("segment")), strict=True)]
