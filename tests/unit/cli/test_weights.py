"""What a weight file says of its architecture, without running anything of it."""

import pickle
import zipfile

import pytest

from visionyard.cli.weights import architecture_of


def weights(path, document, name="archive/data.pkl"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, pickle.dumps(document, protocol=2))
    return path


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("yolov8n.yaml", "yolov8n.yaml"),
        ("/home/somebody/ultralytics/yolo11x-seg.yaml", "yolo11x-seg.yaml"),
        ("C:\\models\\rtdetr-l.yaml", "rtdetr-l.yaml"),
        ("yolo1n.yaml", ""),
        ("mine.yaml", ""),
        ("yolov8n.yaml\nx", ""),
    ],
)
def test_the_name_of_a_stock_architecture_is_found(tmp_path, said, found):
    document = {"epoch": 3, "model": {"yaml": {"nc": 80, "yaml_file": said, "depth": 1.0}}}
    assert architecture_of(weights(tmp_path / "w.pt", document)) == found


def test_what_says_nothing_gives_nothing(tmp_path):
    assert architecture_of(weights(tmp_path / "a.pt", {"model": 1})) == ""
    assert architecture_of(weights(tmp_path / "b.pt", {}, "other")) == ""
    (tmp_path / "c.pt").write_bytes(b"no archive")
    assert architecture_of(tmp_path / "c.pt") == ""
    with zipfile.ZipFile(tmp_path / "d.pt", "w") as archive:
        archive.writestr("data.pkl", b"\x80\x02X\xff\xff\xff\xff")
    assert architecture_of(tmp_path / "d.pt") == ""
    assert architecture_of(tmp_path / "none.pt") == ""


def test_nothing_is_unpickled(tmp_path):
    hostile = b"cos\nsystem\n(S'touch " + str(tmp_path / "run").encode() + b"'\ntR."
    with zipfile.ZipFile(tmp_path / "e.pt", "w") as archive:
        archive.writestr("data.pkl", hostile)
    assert architecture_of(tmp_path / "e.pt") == ""
    assert not (tmp_path / "run").exists()
