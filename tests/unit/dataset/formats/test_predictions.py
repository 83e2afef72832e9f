"""What yard predict prints, read as labels that nobody has confirmed."""

import json
from collections import Counter

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.dataset.conftest import BOX, picture, zipped

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.predictions import find_predictions
from visionyard.inference.v1 import prediction_service_pb2 as pb
from visionyard.kit.errors import YardError


def line(image, *found, width=64, height=48):
    """A line as ``yard predict --json`` prints it, made from the message itself; each detection: class, confidence, left, top, right, bottom."""
    detections = [
        pb.Detection(class_id=9, class_name=name, confidence=confidence, box=pb.Box(x1=a, y1=b, x2=c, y2=d))
        for name, confidence, a, b, c, d in found
    ]
    prediction = pb.Prediction(detection=pb.DetectionResult(detections=detections), image_width_px=width, image_height_px=height)
    document = json_format.MessageToDict(prediction, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return json.dumps({"image": image, "prediction": document})


def error(image):
    return json.dumps(
        {"image": image, "error": {"code": "NOT_FOUND", "reason": "FILE_NOT_FOUND", "message": "cannot read it", "metadata": {}}}
    )


@pytest.fixture
def read(plant):
    def reading(*lines, images=("a.jpg", "b.jpg")):
        return read_source(plant({"predictions.jsonl": "\n".join(lines) + "\n", **dict.fromkeys(images, b"")}), "predictions")

    return reading


def rows(source, images):
    return [row for image in images if image.labels for row in source.rows(image.labels, 64, 48)]


def codes(source):
    return Counter(code.name for code, *_ in source.notes.items)


def test_detections_are_boxes_with_their_confidence(read):
    source = read(line("somewhere/else/a.jpg", ("cat", 0.5, 16, 12, 48, 36), ("ant", 0.25, 0, 0, 32, 24)), line("b.jpg"))
    one, two = rows(source, source.images)
    assert (one.cx, one.cy, one.w, one.h, one.confidence, one.line) == (0.5, 0.5, 0.5, 0.5, 0.5, 1)
    assert two.confidence == 0.25
    assert [source.class_names()[source.final_class_ids()[row.class_id]] for row in (one, two)] == ["cat", "ant"]
    assert [image.path for image in source.images] == ["a.jpg", "b.jpg"]


def test_lines_without_prediction_are_listed_and_their_images_left_out(read):
    source = read(error("b.jpg"), line("a.jpg", ("cat", 0.5, 0, 0, 9, 9)), "{", "7", '{"image": 5, "prediction": {}}')
    assert [image.path for image in source.left_out] == ["b.jpg"]
    assert [(code, at) for code, _, _, at in source.notes.items] == [
        (Code.NOT_PREDICTED, 1),
        (Code.MALFORMED_ANNOTATION, 3),
        (Code.MALFORMED_ANNOTATION, 4),
        (Code.MALFORMED_ANNOTATION, 5),
    ]


def test_an_image_named_again_keeps_what_came_first(read):
    source = read(line("a.jpg", ("cat", 0.5, 0, 0, 9, 9)), line("a.jpg", ("dog", 0.5, 0, 0, 9, 9), ("cat", 0.5, 0, 0, 9, 9)))
    assert [row.problem for row in rows(source, source.images)] == [None, Code.ANNOTATION_NOT_TAKEN, Code.ANNOTATION_NOT_TAKEN]


def test_images_that_are_not_there(read):
    source = read(line("a.jpg", ("cat", 0.5, 0, 0, 9, 9)), line("b.jpg"), images=())
    assert [image.path for image in source.orphans] == ["a.jpg"]
    assert codes(source) == {"LISTED_IMAGE_MISSING": 1}


def test_damaged_detections_cost_themselves_only(read):
    document = json.loads(line("a.jpg", ("cat", 0.5, 0, 0, 9, 9)))
    good = document["prediction"]["detection"]["detections"][0]
    bad = [
        7,
        {**good, "box": None},
        {**good, "class_name": ""},
        {**good, "box": {**good["box"], "x1": "NaN"}},
        {**good, "box": {**good["box"], "x1": 1e999}},
    ]
    document["prediction"]["detection"]["detections"] = [good, *bad]
    source = read(json.dumps(document).replace("Infinity", "1e999"))
    assert [row.problem for row in rows(source, source.images)] == [None, *[Code.MALFORMED_LABEL] * 4, Code.NOT_A_NUMBER]


def test_labels_beside_it_compete(plant):
    files = {"predictions.jsonl": line("a.jpg", ("cat", 0.5, 0, 0, 9, 9)), "labels/a.txt": BOX, "classes.txt": "x\n", "images/a.jpg": b""}
    assert len(find_predictions(plant(files))) == 1
    assert find_predictions(plant({"a.json": '{"image": 5}', "b.jsonl": error("a.jpg"), "c.json": "[]", "d.jsonl": "x"})) == []


def test_an_import_as_a_whole(bench):
    found = [("cat", 0.5, 0, 0, 32, 24)]
    files = {f"images/{name}.jpg": picture(i) for i, name in enumerate("abcd")}
    text = "\n".join(line(f"/home/me/{name}.jpg", *found) for name in "abcd")
    version, _context = bench.run(zipped({**files, "predictions.jsonl": text}))
    assert (version.source_format, version.label_count, version.class_names) == ("predictions", 4, ("cat",))
    assert {label.confidence for row in bench.rows(version) for label in row.labels} == {0.5}


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(10**40), 10**40) | st.sampled_from(["a.jpg", "\ud800", "cat"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["image", "prediction", "detection", "detections", "box", "x1", "class_name", "confidence", "error"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(values=st.lists(VALUES, max_size=3), junk=st.binary(max_size=20), at=st.integers(0, 1000))
def test_whatever_the_file_holds_is_survived(plant, values, junk, at):
    good = line("a.jpg", ("cat", 0.5, 0, 0, 9, 9)).encode()
    hurt = json.loads(good)
    for value in values:
        hurt["prediction"]["detection"]["detections"].append(value)
    at %= len(good)
    text = b"\n".join([good, json.dumps(hurt).encode(), good[:at] + junk + good[at:], *(json.dumps(value).encode() for value in values)])
    try:
        source = read_source(plant({"predictions.jsonl": text.replace(b"Infinity", b"1e999"), "a.jpg": b""}), "predictions")
        found = rows(source, [*source.images, *source.left_out, *source.orphans])
    except YardError:
        return
    assert all(row.problem or 0 <= row.confidence <= 1 for row in found)
