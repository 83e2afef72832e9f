"""Archives that hold a path more than once: the first file counts, whatever else is looked up by its path."""

import hashlib
import io
import tarfile
import warnings
import zipfile

import pytest
from tests.unit.dataset.conftest import BOX, YAML, picture

FILES = [
    ("data.yaml", YAML.encode()),
    ("images/train/a.jpg", picture(1)),
    ("labels/train/a.txt", BOX.encode()),
    ("images/val/b.jpg", picture(2)),
    ("images/train/a.jpg", picture(3)),
    ("images/val/b.jpg", b"no image"),
    ("labels/train/a.txt", b"1 0.5 0.5 0.4 0.4\n" * 3),
]


def tar_of(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, data in files:
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of names that come twice
        for path, data in files:
            archive.writestr(path, data)
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_the_first_file_of_a_path_counts(bench, pack):
    version, context = bench.run(pack(FILES))
    rows = {row.name: row for row in bench.rows(version)}
    assert {name: row.sha256 for name, row in rows.items()} == {
        "a.jpg": hashlib.sha256(picture(1)).hexdigest(),
        "b.jpg": hashlib.sha256(picture(2)).hexdigest(),
    }
    assert [label.class_id for label in rows["a.jpg"].labels] == [0]
    report = bench.report(context)
    assert report["images"] == {"found": 2, "kept": 2, "dropped": 0}
    twice = [finding["file"] for finding in report["findings"] if finding["code"] == "PATH_TWICE"]
    assert sorted(twice) == ["images/train/a.jpg", "images/val/b.jpg", "labels/train/a.txt"]
