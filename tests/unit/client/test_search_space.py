"""The file of a search space: what it may say, and what is refused before anything is sent."""

import pytest
from google.protobuf import json_format

from visionyard.client.errors import ClientError
from visionyard.client.search_space import MOST_BYTES, parse_search_space, read_search_space

SPACE = """\
# what the learning rate may be
lr0: {min: 1e-4, max: 0.01, log: true}
patience: {min: 5, max: 20}
optimizer: [SGD, AdamW]
freeze:
  - [0, 1]
  - 10
amp: [true, false]
weight_decay: [5e-4, 0]
"""


def plain(parameters):
    return [json_format.MessageToDict(parameter) for parameter in parameters]


def test_ranges_and_lists():
    assert plain(parse_search_space(SPACE)) == [
        {"name": "lr0", "range": {"min": 0.0001, "max": 0.01, "log": True}},
        {"name": "patience", "range": {"min": 5.0, "max": 20.0}},
        {"name": "optimizer", "choices": ["SGD", "AdamW"]},
        {"name": "freeze", "choices": [[0.0, 1.0], 10.0]},
        {"name": "amp", "choices": [True, False]},
        {"name": "weight_decay", "choices": [0.0005, 0.0]},
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no mapping"),
        ("[1, 2]", "no mapping"),
        ("lr0", "no mapping"),
        ("lr0: [1, 2", "is not YAML"),
        ("{}", "names 0 parameters"),
        ("\n".join(f"p{n}: [1, 2]" for n in range(21)), "names 21 parameters"),
        ("lr0: 0.1", "neither a range"),
        ("lr0: []", "neither a range"),
        ("lr0: {min: 1}", "neither a range"),
        ("lr0: {min: 1, max: 2, step: 3}", "neither a range"),
        ("lr0: {min: a, max: 2}", "neither a range"),
        ("lr0: {min: true, max: 2}", "neither a range"),
        ("lr0: {min: 1, max: 2, log: 3}", "neither a range"),
        ("lr0: {min: 1, max: .nan}", "neither a range"),
        ("lr0: {min: 1, max: 1" + "0" * 400 + "}", "neither a range"),
        ("lr0: [1, .inf]", "neither number"),
        ("lr0: [1, 2020-01-01]", "neither number"),
        ("lr0: [1, 1" + "0" * 400 + "]", "neither number"),
        ("lr0: [" + ", ".join(map(str, range(101))) + "]", "neither a range"),
        ("a: &a [1, 2]\nb: *a", "line 1 holds an anchor"),
        ("a: !!python/object/apply:os.system ['true']", "line 1 holds a tag"),
        ("a: !!binary aGFsbG8=", "line 1 holds a tag"),
        ("a: " + "[" * 40 + "]" * 40, "nested too deeply"),
        ("a: " + "[" * 30_000, "nested too deeply"),
        ("a: [1, 2]\n#" + "x" * MOST_BYTES, "longer than"),
        ("x: 9" + "9" * 5000, "neither a range"),
    ],
)
def test_what_is_no_space_is_refused_with_the_place(text, word):
    with pytest.raises(ClientError) as caught:
        parse_search_space(text, "space.yaml")
    assert caught.value.reason == "INVALID_FIELD"
    assert caught.value.message.startswith("space.yaml ")
    assert word in caught.value.message or (text.startswith("x: 9") and "is not YAML" in caught.value.message)


def test_a_file_is_read_and_no_more_of_it_than_may_be(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    assert len(read_search_space(path)) == 6
    path.write_bytes(b"a: [1, 2]\n" + b" " * (MOST_BYTES * 3))
    with pytest.raises(ClientError, match="longer than"):
        read_search_space(path)
    path.write_bytes(b"a: [1, \xff]")
    with pytest.raises(ClientError, match="UTF-8"):
        read_search_space(path)
    with pytest.raises(ClientError) as caught:
        read_search_space(tmp_path / "none.yaml")
    assert caught.value.reason == "FILE_NOT_FOUND"
    with pytest.raises(ClientError) as caught:
        read_search_space(tmp_path)
    assert caught.value.reason == "FILE_NOT_FOUND"
