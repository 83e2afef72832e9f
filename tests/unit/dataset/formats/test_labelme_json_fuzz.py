"""Whatever a JSON file holds, labelme's reader reads it or passes it over."""

import json
import math
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelme_documents import TRIANGLE, labelme, mask, shape

from visionyard.dataset.formats.labelled import UnreadLabels
from visionyard.dataset.formats.labelme_json import find_labelme
from visionyard.dataset.formats.shapes import Shape, enclosing

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(10**400)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
POINTS = st.one_of(VALUES, st.lists(st.lists(st.one_of(st.floats(), st.integers()), min_size=2, max_size=2), max_size=6))
KINDS = st.one_of(VALUES, st.sampled_from(["rectangle", "polygon", "circle", "mask", "rotation", "line"]))
SHAPES = st.fixed_dictionaries(
    {},
    optional={
        "label": st.one_of(VALUES, st.sampled_from(["ant", "__ignore__"])),
        "points": POINTS,
        "shape_type": KINDS,
        "group_id": st.one_of(VALUES, st.integers(0, 1)),
        "mask": st.one_of(VALUES, st.just(mask(["101", "010"]))),
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"shapes": st.lists(st.one_of(SHAPES, VALUES), max_size=5), "imagePath": VALUES},
    optional={
        "flags": st.one_of(VALUES, st.dictionaries(st.text(max_size=3), st.booleans(), max_size=3)),
        "imageData": VALUES,
        "imageWidth": VALUES,
    },
).map(lambda document: json.dumps(document).encode())


@st.composite
def damaged(draw):
    """A good file, cut off or with bytes changed."""
    data = bytearray(labelme(shape(), shape(TRIANGLE, kind="polygon", group_id=1), imageData="AAAA").encode())
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=100), DOCUMENTS, damaged()))
def test_whatever_a_file_holds_it_is_read_or_passed_over(plant, data):
    for labelling in find_labelme(plant({"a.jpg": b"", "a.json": data})):
        for images in (labelling.source.images, labelling.source.orphans):
            for found in images:
                with suppress(UnreadLabels):
                    for row in labelling.source.rows(found.labels, 200, 100) if found.labels else ():
                        if row.problem is None and row.shape is not Shape.IMAGE:
                            assert all(map(math.isfinite, (*row.points, *enclosing(row.points))))
