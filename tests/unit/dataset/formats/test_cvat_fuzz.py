"""Whatever a CVAT file holds, it is read or refused."""

import math
from contextlib import suppress

from cvat_documents import box, cvat, image, on, track
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from visionyard.dataset.formats.cvat import find_cvat
from visionyard.dataset.formats.labelled import UnreadLabels
from visionyard.dataset.formats.shapes import Shape, enclosing
from visionyard.kit.errors import YardError

WORDS = st.sampled_from(["1", "-3.5", "nan", "1e999", "9" * 400, "", "x", "1,2;3,4;5,6", ";", "0,5,3", "é", "auto", "train"])
NAMES = st.sampled_from(
    [
        "label",
        "xtl",
        "ytl",
        "xbr",
        "ybr",
        "points",
        "rle",
        "left",
        "top",
        "width",
        "height",
        "cx",
        "cy",
        "rx",
        "ry",
        "rotation",
        "frame",
        "outside",
        "occluded",
        "name",
        "subset",
        "task_id",
        "source",
        "id",
    ]
)
TAGS = st.sampled_from(
    [
        "image",
        "track",
        "box",
        "polygon",
        "points",
        "ellipse",
        "mask",
        "skeleton",
        "tag",
        "cuboid",
        "meta",
        "task",
        "labels",
        "label",
        "name",
        "parent",
        "attribute",
    ]
)


def element(children):
    return st.builds(
        lambda tag, attributes, inner: f"<{tag}" + "".join(f' {k}="{v}"' for k, v in attributes.items()) + f">{''.join(inner)}</{tag}>",
        TAGS,
        st.dictionaries(NAMES, WORDS, max_size=8),
        st.lists(children, max_size=4),
    )


DOCUMENTS = st.lists(st.recursive(element(st.just("")), element, max_leaves=12), max_size=5).map(
    lambda items: f"<annotations>{''.join(items)}</annotations>".encode()
)


@st.composite
def damaged(draw):
    """A good file, cut off or with bytes changed."""
    data = bytearray(cvat(image("a.jpg", box(), '<polygon label="ant" points="1,2;3,4;5,6"></polygon>'), track("ant", on(0))).encode())
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=200), DOCUMENTS, damaged()))
def test_whatever_a_file_holds_it_is_read_or_refused(plant, data):
    tree = plant({"a.jpg": b"", "frame_000001.png": b"", "a.xml": data})
    with suppress(YardError):
        for labelling in find_cvat(tree):
            for image_of in (labelling.source.images, labelling.source.left_out, labelling.source.orphans):
                for found in image_of:
                    with suppress(UnreadLabels):
                        for row in labelling.source.rows(found.labels, 200, 100):
                            if row.problem is None and row.shape is not Shape.IMAGE:
                                assert all(map(math.isfinite, (*row.points, *enclosing(row.points))))
