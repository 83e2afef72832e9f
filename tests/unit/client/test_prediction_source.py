"""Predictions with their images as a tar: unique names, no path of this machine, the same bytes from any offset."""

import io
import json
import tarfile

import pytest

from visionyard.client.errors import ClientError
from visionyard.client.prediction_source import PredictionsSource


def everything(source, offset=0):
    parts = []
    with source.open(offset) as reader:
        while data := reader.read(777):
            parts.append(data)
    return b"".join(parts)


def unpacked(source):
    with tarfile.open(fileobj=io.BytesIO(everything(source))) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive.getmembers()}


def line(image, **more):
    return json.dumps({"image": str(image), "prediction": {"detection": {"detections": []}}, **more})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with images of one name in two places."""
    monkeypatch.chdir(tmp_path)
    for name in ("one/a.jpg", "two/A.png", "two/a-2.jpg", "c\\d?.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode() * 300)
    return tmp_path


def write(folder, *lines, name="predicted.jsonl"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_images_get_names_of_their_own_and_lines_say_so(folder):
    names = ["one/a.jpg", folder / "two/A.png", "two/a-2.jpg", "c\\d?.jpg", "./one/a.jpg"]
    files = unpacked(PredictionsSource(write(folder, *map(line, names))))
    lines = [json.loads(text)["image"] for text in files.pop("predictions.jsonl").decode().splitlines()]
    assert lines == ["images/a.jpg", "images/A-2.png", "images/a-2-2.jpg", "images/c_d_.jpg", "images/a.jpg"]
    assert set(files) == set(lines)
    assert files["images/A-2.png"] == (folder / "two/A.png").read_bytes()
    stems = [name.rpartition(".")[0].lower() for name in files]
    assert len(set(stems)) == len(stems)


def test_the_same_predictions_are_the_same_bytes_from_any_offset(folder):
    path = write(folder, line("one/a.jpg"), line("two/A.png"))
    source, again = PredictionsSource(path), PredictionsSource(path)
    stream = everything(source)
    assert len(stream) == source.size_bytes
    assert stream == everything(again)
    for offset in (0, 1, 511, 512, 1500, len(stream) - 3, len(stream)):
        assert everything(source, offset) == stream[offset:]


def test_images_are_found_beside_the_file_too(folder, monkeypatch):
    path = write(folder / "one", line("a.jpg"))
    monkeypatch.chdir("/")
    assert set(unpacked(PredictionsSource(path))) == {"predictions.jsonl", "images/a.jpg"}


def test_what_is_no_prediction_is_sent_as_it_is(folder):
    others = ['{"image": "b.jpg", "error": {"message": "cannot read it"}}', "{", "7", "[" * 100_000]
    files = unpacked(PredictionsSource(write(folder, line("one/a.jpg"), *others)))
    assert files["predictions.jsonl"].decode().splitlines()[1:] == others


def test_missing_images_are_named(folder):
    source = PredictionsSource(write(folder, line("one/a.jpg"), line("gone/b.jpg"), line("x\0y.jpg")))
    assert source.skipped == ("left out 2 images that are not there, gone/b.jpg the first",)
    assert json.loads(unpacked(source)["predictions.jsonl"].splitlines()[1])["image"] == "b.jpg"


@pytest.mark.parametrize(("lines", "reason"), [(['{"image": "a"}', "x"], "NO_LABELS"), ([line("gone.jpg")], "FILE_NOT_FOUND")])
def test_what_holds_nothing_is_refused(folder, lines, reason):
    with pytest.raises(ClientError) as refused:
        PredictionsSource(write(folder, *lines))
    assert refused.value.reason == reason


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ClientError) as refused:
        PredictionsSource(tmp_path / "none.jsonl")
    assert refused.value.reason == "FILE_NOT_FOUND"


def test_the_rewritten_file_goes_with_its_source(folder, monkeypatch, tmp_path_factory):
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    source = PredictionsSource(write(folder, line("one/a.jpg")))
    assert len(list(scratch.iterdir())) == 1
    del source
    assert list(scratch.iterdir()) == []
