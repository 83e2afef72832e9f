"""What is written of Datumaro's items, with objects in the place of Datumaro's; and the walls, tried from within in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from visionyard.dataset.converting import datumaro_program
from visionyard.dataset.converting.datumaro_program import image_of, lines_of, roots_of, sentence_of, written

NAMES = ("cat", "dog")


def annotation(kind, label=0, group=0, attributes=(), **fields):
    return SimpleNamespace(type=SimpleNamespace(name=kind), label=label, group=group, attributes=dict(attributes), **fields)


def bbox(x=1, y=2, w=3, h=4, **fields):
    return annotation("bbox", x=x, y=y, w=w, h=h, **fields)


def polygon(*points, **fields):
    return annotation("polygon", points=points, **fields)


def points(*triples, **fields):
    flat = [number for x, y, _ in triples for number in (x, y)]
    return annotation("points", points=flat, visibility=[seen for *_, seen in triples], **fields)


@pytest.mark.parametrize(
    ("annotations", "wanted"),
    [
        ([bbox()], [{"category": "cat", "bbox": [1, 2, 3, 4]}]),
        ([bbox(label=1), bbox(label=None), bbox(label=7), bbox(label=-1)], [{"category": name, "bbox": [1, 2, 3, 4]} for name in ("dog", None, None, None)]),
        ([polygon(1, 2, 3, 4, 5, 6)], [{"category": "cat", "segmentation": [[1, 2, 3, 4, 5, 6]]}]),
        (
            [polygon(1, 2, 3, 4, 5, 6, group=9), bbox(group=9), polygon(7, 8, 9, 9, 8, 8, group=9)],
            [{"category": "cat", "segmentation": [[1, 2, 3, 4, 5, 6], [7, 8, 9, 9, 8, 8]], "bbox": [1, 2, 3, 4]}],
        ),
        ([bbox(group=9), bbox(x=5, group=9)], [{"category": "cat", "bbox": [x, 2, 3, 4]} for x in (1, 5)]),
        ([bbox(group=9), bbox(label=1, group=9)], [{"category": name, "bbox": [1, 2, 3, 4]} for name in NAMES]),
        ([bbox(), polygon(1, 2, 3, 4, 5, 6)], [{"category": "cat", "bbox": [1, 2, 3, 4]}, {"category": "cat", "segmentation": [[1, 2, 3, 4, 5, 6]]}]),
        (
            [points((1, 2, 2), (3, 4, 0), group=1), bbox(group=1)],
            [{"category": "cat", "keypoints": [1.0, 2.0, 2.0, 3.0, 4.0, 0.0], "bbox": [1, 2, 3, 4]}],
        ),
        (
            [annotation("rotated_bbox", cx=10, cy=20, w=4, h=2, r=30)],
            [{"category": "cat", "bbox": [8, 19, 4, 2], "attributes": {"rotation": 30}}],
        ),
        ([annotation("ellipse", x1=1, y1=2, x2=3, y2=4)], [{"category": "cat", "ellipse": [1, 2, 3, 4]}]),
        ([annotation("label"), annotation("label", 1, attributes={"score": 0.0})], [{"category": "cat", "whole": True}, {"category": "dog", "whole": True, "denied": True}]),
        ([annotation("polyline", points=[1, 2, 3, 4], group=1), annotation("caption", None)], [{"category": "cat", "unsupported": "polyline"}, {"category": None, "unsupported": "caption"}]),
        ([bbox(attributes={"is_crowd": True}, group=1), polygon(1, 2, 3, 4, 5, 6, attributes={"is_crowd": True}, group=1)], [{"category": "cat", "bbox": [1, 2, 3, 4], "iscrowd": 1, "segmentation": [[1, 2, 3, 4, 5, 6]]}]),
    ],
)  # fmt: skip
def test_annotations(annotations, wanted):
    assert written(annotations, NAMES) == wanted


def test_an_image_is_called_by_its_path_below_the_source(tmp_path):
    folder = str(tmp_path)
    for path, wanted in (("a/b.jpg", "a/b.jpg"), ("../out.jpg", "id"), ("/etc/passwd", "id"), ("a/../../x.jpg", "id"), ("", "id")):
        media = SimpleNamespace(path=f"{folder}/{path}" if path and path[0] != "/" else path)
        assert image_of(SimpleNamespace(media=media, id="id"), folder) == wanted
    assert image_of(SimpleNamespace(media=None, id="id"), folder) == "id"
    assert image_of(SimpleNamespace(media=SimpleNamespace(path=b"x"), id=7), folder) == "7"


def test_an_image_of_many_labels_takes_several_lines():
    annotations = [{"category": "c" * 1000, "n": i} for i in range(3000)]
    lines = [json.loads(line) for line in lines_of("a.jpg", "train", annotations)]
    assert len(lines) > 2
    assert [lines[0]["image"], lines[0]["split"], *(line["more"] for line in lines[1:])] == ["a.jpg", "train", *[True] * (len(lines) - 1)]
    assert [a for line in lines for a in line["annotations"]] == annotations
    assert max(len(json.dumps(line)) for line in lines) < 2 << 20
    assert [json.loads(line) for line in lines_of('"\n', "", [])] == [{"image": '"\n', "split": "", "annotations": []}]


def test_a_folder_in_a_folder_is_tried_too(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/x").write_text("")
    (tmp_path / "a/b/y").write_text("")
    assert [os.path.relpath(root, tmp_path) for root in roots_of(str(tmp_path))] == [".", "a", "a/b"]
    assert list(roots_of(str(tmp_path / "a/b"))) == [str(tmp_path / "a/b")]
    (tmp_path / "empty").mkdir()
    assert list(roots_of(str(tmp_path / "empty"))) == [str(tmp_path / "empty")]


def test_what_went_wrong_is_a_line_without_paths_of_this_machine():
    error = ValueError("outer")
    error.__cause__ = KeyError("no /work/in/a.txt\nin /work/in")
    assert sentence_of(error, "/work/in") == "KeyError: 'no a.txt\\nin the source'"
    assert len(sentence_of(ValueError("x" * 10_000), "/work/in")) == 300


WALLS = """
import json, os, socket, subprocess, sys
sys.path.insert(0, sys.argv[1])
import datumaro_program
readable, writable, secret = sys.argv[2:5]
inside = datumaro_program.shut_in((sys.prefix, sys.base_prefix, *datumaro_program._LIBRARIES, readable), writable)
def can(what):
    try:
        what()
    except OSError:
        return False
    return True
tried = {
    "reads its folder": lambda: open(readable + "/file").read(),
    "lists its folder": lambda: os.listdir(readable),
    "writes its output": lambda: open(writable + "/made", "w").write("x"),
    "renames its output": lambda: os.rename(writable + "/made", writable + "/moved"),
    "reads another file": lambda: open(secret).read(),
    "reads its parent's environment": lambda: open(f"/proc/{os.getppid()}/environ").read(),
    "lists another folder": lambda: os.listdir(os.path.dirname(secret)),
    "writes its folder": lambda: open(readable + "/made", "w"),
    "writes another file": lambda: open(secret, "a"),
    "makes a pipe": lambda: os.mkfifo(writable + "/pipe"),
    "makes a link": lambda: os.symlink(secret, writable + "/link"),
    "starts a program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
}
print(json.dumps([inside, {name: can(what) for name, what in tried.items()}]))
"""


@pytest.mark.datumaro
def test_behind_the_walls_there_is_only_its_own_folder(tmp_path):
    folders = [tmp_path / name for name in ("readable", "writable", "other")]
    for folder in folders:
        folder.mkdir()
        (folder / "file").write_text("text")
    program = Path(datumaro_program.__file__).parent
    arguments = [sys.executable, "-I", "-c", WALLS, program, folders[0], folders[1], folders[2] / "file"]
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=True)
    inside, can = json.loads(done.stdout)
    if not inside:
        pytest.skip("this kernel has no Landlock")
    allowed = {"reads its folder", "lists its folder", "writes its output", "renames its output"}
    assert {name for name, succeeded in can.items() if succeeded} == allowed
