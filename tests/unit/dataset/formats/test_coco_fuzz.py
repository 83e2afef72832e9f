"""Whatever a COCO file holds, it is read or refused."""

import json
import random
from contextlib import suppress

from coco_documents import annotation, document
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from visionyard.dataset.archives.entry import Entry
from visionyard.dataset.formats.coco import find_coco
from visionyard.dataset.source import SourceTree
from visionyard.kit.errors import YardError

NUMBERS = st.one_of(st.integers(-(10**30), 10**30), st.floats(), st.sampled_from([0, 1, 2, 1e308, -1e308, 10**400]))
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=8), st.dictionaries(st.sampled_from(["id", "name", "counts", "size", "rotation"]), inner, max_size=3)
    ),
    max_leaves=12,
)
IDS = st.one_of(st.integers(0, 3), ANYTHING)
MASKS = st.fixed_dictionaries(
    {"size": st.one_of(st.tuples(st.integers(0, 99), st.integers(0, 99)), ANYTHING)},
    optional={"counts": st.one_of(st.lists(st.integers(-2, 200), max_size=20), st.text("0123456789:;<=>?@ABOPabo", max_size=30), ANYTHING)},
)
ANNOTATIONS = st.fixed_dictionaries(
    {},
    optional={
        "id": ANYTHING,
        "image_id": IDS,
        "category_id": IDS,
        "bbox": st.one_of(st.lists(NUMBERS, min_size=4, max_size=4), ANYTHING),
        "segmentation": st.one_of(st.lists(st.lists(NUMBERS, max_size=12), max_size=4), MASKS, ANYTHING),
        "keypoints": st.one_of(st.lists(st.integers(0, 2), max_size=9), ANYTHING),
        "iscrowd": st.one_of(st.booleans(), ANYTHING),
        "attributes": ANYTHING,
        "score": ANYTHING,
        "caption": ANYTHING,
    },
)
IMAGES = st.fixed_dictionaries(
    {"id": IDS},
    optional={"file_name": st.one_of(st.sampled_from(["a.jpg", "b.jpg", "c.jpg"]), ANYTHING), "width": ANYTHING, "height": NUMBERS},
)
CATEGORIES = st.fixed_dictionaries(
    {"id": IDS, "name": ANYTHING}, optional={"keypoints": st.one_of(st.lists(st.text(max_size=3), max_size=3), ANYTHING)}
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "images": st.lists(st.one_of(IMAGES, ANYTHING), max_size=4),
        "categories": st.lists(st.one_of(CATEGORIES, ANYTHING), max_size=4),
        "annotations": st.lists(st.one_of(ANNOTATIONS, ANYTHING), max_size=8),
    },
    optional={"info": ANYTHING, "a": ANYTHING},
)


def read_whatever(folder, data):
    """Reads a file with two images beside it as an import would; every label that is found is given once."""
    with SourceTree(folder) as tree:
        for path in ("a.jpg", "b.jpg"):
            tree.add(Entry(path, 0, too_large=False), None)
        tree.add(Entry("a.json", len(data), too_large=False), data)
        tree.finish()
        for found in find_coco(tree):
            found.labelled_images()  # only what is refused as a bomb is raised here
            with suppress(YardError):
                check_whatever(found.source)


def check_whatever(source):
    count = 0
    for listed in (source.images, source.left_out, source.orphans):
        for item in listed:
            for row in source.rows(item.labels, 64, 48) if item.labels else ():
                count += 1
                assert row.problem is not None or source.final_class_ids()[row.class_id] < len(source.class_names())
                row.message.encode()
    assert f" {count} annotations" in source.reason


@given(document=DOCUMENTS)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_fuzz_values(tmp_path_factory, document):
    read_whatever(tmp_path_factory.mktemp("fuzz"), json.dumps(document).encode())


SEED = json.dumps(
    document(
        [
            annotation(segmentation=[[1, 2, 3, 4, 5, 6]]),
            annotation(keypoints=[1, 2, 2]),
            annotation(segmentation={"size": [9, 9], "counts": "5g0"}),
        ]
    )
).encode()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_fuzz_bytes(tmp_path_factory, seed):
    chance = random.Random(seed)
    data = bytearray(SEED)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data))
        piece = data[chance.randrange(len(data)) :][: chance.randint(1, 60)]
        data[at : at + chance.randint(0, 20)] = chance.choice([b"", piece, bytes([chance.randrange(256)]), b"1e999", b"null", b"NaN", b'"'])
        if not data:
            break
    read_whatever(tmp_path_factory.mktemp("fuzz"), bytes(data[: chance.choice([len(data), chance.randint(0, len(data))])]))
