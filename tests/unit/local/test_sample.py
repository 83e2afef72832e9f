import cv2
import numpy as np
import pytest

from visionyard.local import sample


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_seed_gives_the_same_files_and_another_other_ones(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        sample.generate(tmp_path / name, 12, seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a") != files(tmp_path / "c")


def test_every_picture_has_boxes_inside_it_in_every_split(tmp_path):
    counts = sample.generate(tmp_path / "set", 20)
    assert counts == {"train": 14, "val": 4, "test": 2}
    for split, count in counts.items():
        pictures = sorted((tmp_path / "set" / "images" / split).iterdir())
        assert len(pictures) == count
        for path in pictures:
            assert cv2.imread(str(path)) is not None
            lines = (tmp_path / "set" / "labels" / split / f"{path.stem}.txt").read_text().splitlines()
            assert 1 <= len(lines) <= 3
            for line in lines:
                class_id, x, y, w, h = map(float, line.split())
                assert class_id in range(len(sample.CLASSES))
                assert 0 <= x - w / 2 < x + w / 2 <= 1
                assert 0 <= y - h / 2 < y + h / 2 <= 1


def test_a_box_holds_its_shape():
    rng = np.random.default_rng(0)
    pixels, boxes = sample.picture(rng)
    hsv = cv2.cvtColor(cv2.GaussianBlur(pixels, (0, 0), 2), cv2.COLOR_BGR2HSV)
    for box in boxes:
        inside = hsv[int(box.y1) : int(box.y2), int(box.x1) : int(box.x2), 1]
        assert inside.mean() > hsv[..., 1].mean()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(FileExistsError, match="not empty"):
        sample.generate(tmp_path, 12)
    with pytest.raises(ValueError, match="at least 10"):
        sample.generate(tmp_path / "new", 9)
