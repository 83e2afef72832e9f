from hypothesis import given
from hypothesis import strategies as st

from visionyard.kit.artifacts.manifest import Label, ManifestRow, decode_manifest, encode_manifest, label_order, row_order, sorted_labels

SHARES = st.floats(0, 1)
LABELS = st.lists(
    st.builds(
        Label,
        st.integers(0, 2),
        SHARES,
        SHARES,
        st.sampled_from([0.25, 0.5]),
        st.just(0.5),
        st.sampled_from([(), (0.1, 0.2), (0.1, 0.2, 0.3, 0.4)]),
        st.none() | SHARES,
    ),
    max_size=6,
)
ALIKE = st.lists(st.builds(Label, st.just(0), *[st.just(0.5)] * 4, st.just(()), st.none() | st.sampled_from([0.0, 0.5])), max_size=6)


@given(LABELS | ALIKE)
def test_labels_are_sorted_by_class_and_place_then_those_of_persons_first(labels):
    assert sorted_labels(labels) == sorted(labels, key=label_order)


@given(st.lists(LABELS, max_size=5))
def test_what_is_written_is_read_back(labels):
    rows = [
        ManifestRow(f"{at:064x}", f"{at}.jpg", ("train", "val", "test")[at % 3], 640, 480, f"shard{at % 2}", at, 100, tuple(found), at)
        for at, found in enumerate(labels)
    ]
    rows.sort(key=row_order)
    assert list(decode_manifest(encode_manifest(rows, {"job": "j"}))) == rows
