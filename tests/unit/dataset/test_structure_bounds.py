"""Reading a source's structure stays bounded, however its texts are made, and stops where the job is told to."""

import pytest
from tests.unit.dataset.conftest import BOX, voc

from visionyard.dataset.formats import data_yaml, safe_yaml
from visionyard.dataset.formats.data_yaml import find_data_yaml
from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.labelled import Notes
from visionyard.dataset.formats.places import Places
from visionyard.dataset.formats.safe_yaml import read_yaml
from visionyard.kit.errors import Reason, YardError


def counted(monkeypatch, tree, *names):
    """Counts the characters that the tree's look-ups are asked for."""
    asked = []
    for name in names:
        look = getattr(tree, name)
        monkeypatch.setattr(tree, name, lambda path, look=look: asked.append(len(path) + 1) or look(path))
    return asked


SMALL = {"sets/one/images/a.jpg": b"", "sets/one/labels/a.txt": BOX}


@pytest.mark.parametrize("line", ["a/" * 8000 + "x", "x" * 16_000, "../" * 5000 + "x", "\\".join("a" * 8000), "images/" * 3000 + "a.jpg"])
def test_a_long_line_costs_no_more_than_its_length(monkeypatch, plant, line):
    tree = plant({**SMALL, "list.txt": line})
    asked = counted(monkeypatch, tree, "find", "find_folder")
    places = Places(tree, "", "sets/one", Notes())
    assert set(places.images(["list.txt", line])) <= {"sets/one/images/a.jpg"}
    assert sum(asked) < 4 * len(line)


def test_a_long_path_of_the_set_is_no_base(monkeypatch, plant):
    tree = plant(SMALL)
    asked = counted(monkeypatch, tree, "find", "find_folder")
    places = Places(tree, "", "b" * 400_000, Notes())
    assert list(places.images([f"{i}/images" for i in range(1000)])) == []
    assert sum(asked) < 100_000


def test_a_list_that_is_named_many_times_is_read_once(monkeypatch, plant):
    tree = plant({**SMALL, "list.txt": "sets/one/images/a.jpg\n"})
    read, was = [], tree.read
    monkeypatch.setattr(tree, "read", lambda path: read.append(path) or was(path))
    assert list(Places(tree, "", "", Notes()).images([*["list.txt"] * 3, "./list.txt", "LIST.txt"])) == ["sets/one/images/a.jpg"]
    assert read == ["list.txt"]


def test_folders_are_found_whatever_the_case(plant):
    tree = plant({"Images/Train/a.jpg": b"", "images/val/b.jpg": b""})
    assert tree.find_folder("images/train") == "Images/Train"
    assert tree.find_folder("images") == "images"
    assert tree.find_folder("IMAGES") == "Images"
    assert tree.find_folder("nope") is None


def test_of_many_yamls_few_are_parsed_and_the_likeliest_first(monkeypatch, plant):
    files = {f"meta/{i:03d}.yaml": f"names: [n{i}]\n" for i in range(100)}
    parsed = []
    monkeypatch.setattr(data_yaml, "read_yaml", lambda text, check: parsed.append(text) or read_yaml(text, check))
    assert find_data_yaml(plant(files)).path == "meta/000.yaml"
    assert len(parsed) == 32
    parsed.clear()
    data = find_data_yaml(plant({**files, "data.yaml": "train: images\nnames: [x]\n"}))
    assert (data.path, len(parsed)) == ("data.yaml", 1)
    parsed.clear()
    others = {f"meta/{i:03d}.yaml": "camera: 1\n" for i in range(100)}
    data = find_data_yaml(plant({**others, "meta/zz/set.yaml": "train: images\nnames: [x]\n"}))
    assert (data.path, data.unread, len(parsed)) == ("meta/zz/set.yaml", [], 1)


def test_of_large_yamls_a_mebibyte_is_parsed(monkeypatch, plant):
    parsed = []
    monkeypatch.setattr(data_yaml, "read_yaml", lambda text, _: parsed.append(len(text)))
    text = "names: x #" + "x" * (safe_yaml.MAX_YAML_BYTES - 10)
    data = find_data_yaml(plant({f"{i}.yaml": text for i in range(9)}))
    assert sum(parsed) == 1 << 20
    assert data.unread == [("2.yaml", "2 others were tried before it, and no more are")]


def test_the_data_yaml_is_parsed_once(monkeypatch, plant):
    parsed = []
    monkeypatch.setattr(data_yaml, "read_yaml", lambda text, check: parsed.append(text) or read_yaml(text, check))
    read_source(plant({"images/a.jpg": b"", "labels/a.txt": BOX, "data.yaml": "train: images\nnames: [x]\n"}), "")
    assert len(parsed) == 1


STOPPABLE = {
    "one large yaml": {"images/a.jpg": b"", "labels/a.txt": BOX, "data.yaml": "names: [" + "x," * 5000 + "x]\n"},
    "many yamls": {"images/a.jpg": b"", "labels/a.txt": BOX, "classes.txt": "x", **{f"{i}.yaml": "names: [" for i in range(20)}},
    "many places": {
        "images/a.jpg": b"",
        "labels/a.txt": BOX,
        "data.yaml": f"train: [{', '.join(f'p{i}' for i in range(20))}]\nnames: [x]\n",
    },
    "a long list": {"images/a.jpg": b"", "labels/a.txt": BOX, "l.txt": "a.jpg\n" * 5000, "data.yaml": "train: l.txt\nnames: [x]\n"},
    "many images without labels": {**{f"images/{i}.jpg": b"" for i in range(100)}, **{f"notes/{i}.txt": "" for i in range(100)}},
    "many texts": {"images/a.jpg": b"", "labels/a.txt": BOX, "classes.txt": "x", **{f"labels/{i}.txt": BOX for i in range(20)}},
    "many annotations": {"a.jpg": b"", "a.xml": voc("a.jpg"), **{f"{i}.xml": voc("a.jpg") for i in range(20)}},
    "a long list of voc": {"a.jpg": b"", "a.xml": voc("a.jpg"), "ImageSets/train.txt": "a\n" * 20_000},
}


class Stopped(BaseException):
    """As a worker is told to go."""


@pytest.mark.parametrize("case", STOPPABLE)
def test_every_long_phase_asks_whether_to_go_on(plant, case):
    asked = []

    def check():
        asked.append(1)
        if len(asked) > 12:
            raise Stopped

    with pytest.raises(Stopped):
        read_source(plant(STOPPABLE[case], check), "")


# --- the sample that tells the format


def test_labels_are_found_whatever_images_come_between(plant):
    """Every second image has labels: a sample of every second one may meet none."""
    files = {"classes.txt": "x"}
    for i in range(1000):
        files |= {f"images/{i:04d}_rgb.jpg": b"", f"images/{i:04d}_thermal.jpg": b"", f"labels/{i:04d}_thermal.txt": BOX}
    source = read_source(plant(files), "")
    assert source.format == "yolo"
    assert sum(bool(image.labels) for image in source.images) == 1000


def test_a_text_of_many_images_is_looked_at_once(monkeypatch, plant):
    files = {f"images/{'A' * i}{'a' * (40 - i)}.jpg": b"" for i in range(40)}
    tree = plant({**files, f"labels/{'a' * 40}.txt": "no labels"})
    read, was = [], tree.read
    monkeypatch.setattr(tree, "read", lambda path: read.append(path) or was(path))
    with pytest.raises(YardError) as caught:
        read_source(tree, "")
    assert caught.value.reason is Reason.NO_LABELS
    assert len(read) == 1
