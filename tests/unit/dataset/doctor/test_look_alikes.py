"""Pictures that look alike: found within and between splits, few findings whatever their number, and never different ones."""

import cv2
import numpy as np
from tests.unit.dataset.conftest import BOX, YAML, picture, zipped

from visionyard.dataset.images import check_image
from visionyard.dataset.import_spec import Derivation, ImportSpec
from visionyard.dataset.similar import NEAR_BITS, joined, near_pairs
from visionyard.kit.names import ResourceName


def scene(seed, brightness=0, quality=90, size=(64, 48)):
    """A picture of smooth shapes, which recompression and brightness leave alike."""
    coarse = np.random.default_rng(seed).integers(30, 220, (6, 8, 3), np.uint8)
    pixels = cv2.resize(coarse, (256, 192), interpolation=cv2.INTER_CUBIC)
    pixels = cv2.resize(np.clip(pixels.astype(int) + brightness, 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def yolo(pictures):
    files = {"data.yaml": YAML}
    for place, data in pictures.items():
        files |= {f"images/{place}.jpg": data, f"labels/{place}.txt": BOX}
    return zipped(files)


def findings(bench, pictures):
    _, context = bench.run(yolo(pictures))
    return [f for f in bench.report(context)["findings"] if f["code"] in {"NEAR_DUPLICATE_IMAGES", "NEAR_LEAKAGE"}]


def test_a_copy_saved_anew_is_found_within_and_between_splits(bench):
    found = findings(
        bench,
        {
            "train/a": scene(1),
            "train/again": scene(1, quality=60),
            "train/b": scene(2),
            "val/b_brighter": scene(2, brightness=12),
            "val/other": scene(3),
        },
    )
    assert [(f["code"], f["severity"], f["image"], f["related"]) for f in found] == [
        ("NEAR_DUPLICATE_IMAGES", "INFO", "train/a.jpg", ["train/again.jpg"]),
        ("NEAR_LEAKAGE", "WARNING", "val/b_brighter.jpg", ["train/b.jpg"]),
    ]


def test_files_with_the_same_bytes_are_not_listed_twice(bench):
    assert not findings(bench, {"train/a": scene(1), "train/copy": scene(1), "val/b": scene(2)})


def test_different_pictures_and_plain_ones_are_not_alike(bench):
    plain = {f"train/plain{i}": cv2.imencode(".jpg", np.full((48, 64, 3), 40 * i, np.uint8))[1].tobytes() for i in range(4)}
    assert not findings(bench, plain | {f"train/{i}": scene(i) for i in range(30)} | {"val/a": picture(1)})


def test_many_groups_are_few_findings(bench):
    pictures = {"val/z": scene(1000)}
    for i in range(30):
        pictures |= {f"train/{i:02}a": scene(i), f"train/{i:02}b": scene(i, quality=70)}
    found = findings(bench, pictures)
    assert len(found) == 21
    (last,) = (f for f in found if "more groups" in f["message"])
    assert last["message"].startswith("10 more groups")
    assert "60 images in 30 groups" in last["message"]
    assert last["image"]


def test_frames_of_one_scene_are_one_group(bench):
    frames = {f"{'val' if i == 5 else 'train'}/{i:02}": scene(7, brightness=i) for i in range(12)}
    (finding,) = findings(bench, frames | {"val/z": scene(8)})
    assert finding["code"] == "NEAR_LEAKAGE"
    assert finding["image"] == "val/05.jpg"
    assert "and 10 more" in finding["message"]
    assert len(finding["related"]) == 3


def test_a_version_made_of_others_is_examined_too(bench):
    one, _ = bench.run(yolo({"train/a": scene(1), "val/b": scene(2)}), "one")
    two, _ = bench.run(yolo({"train/c": scene(3), "val/d": scene(1, quality=60)}), "two")
    spec = ImportSpec(
        ResourceName("default", "datasets", "both"), None, derivation=Derivation("merge", (one.name, two.name), {"class_names": {}})
    )
    bench.jobs += 1
    context = bench.context(spec)
    bench.attempt(context)
    report = bench.report(context)
    assert [(f["code"], f["image"], f["related"]) for f in report["findings"]] == [("NEAR_LEAKAGE", "val/d.jpg", ["train/a.jpg"])]
    assert [counts["train_label_count"] for counts in report["classes"]] == [2, 0]


def test_pairs_are_those_that_a_comparison_of_all_finds():
    generator = np.random.default_rng(0)
    base = generator.integers(1, 1 << 63, 300, dtype=np.uint64)
    flips = np.array(
        [sum(1 << int(bit) for bit in generator.choice(64, generator.integers(0, 6), replace=False)) for _ in base], dtype=np.uint64
    )
    hashes = np.concatenate([base, base ^ flips, np.zeros(3, np.uint64)])
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    near = (distance <= NEAR_BITS) & (hashes != 0)[:, None] & (hashes != 0)[None, :]
    wanted = joined(len(hashes), np.argwhere(np.triu(near, 1)).astype(np.int64))
    pairs = near_pairs(hashes, lambda: None)
    assert np.array_equal(joined(len(hashes), pairs), wanted)
    assert len(pairs) == len(hashes) - len(np.unique(wanted))


def test_a_hundred_thousand_frames_of_one_scene_keep_no_more_pairs_than_frames():
    count = 100_000
    bits = np.random.default_rng(0).integers(0, 16, (count, 2), dtype=np.uint64)
    hashes = np.uint64(0xABCD_EF01_2345_6789) ^ (np.uint64(1) << bits[:, 0]) ^ (np.uint64(1) << bits[:, 1])
    checks = []
    pairs = near_pairs(hashes, lambda: checks.append(None))
    assert len(pairs) < count
    assert len(checks) > 1000  # whoever waits for the work to stop is heard


def test_hashes_of_real_photos_are_apart(test_data):
    photos = sorted(p for p in (test_data / "photos").iterdir() if p.suffix in {".jpg", ".jpeg", ".png"})
    hashes = np.array([check_image(path.read_bytes(), 1 << 26).phash for path in photos], dtype=np.uint64)
    assert len(hashes) == 29
    assert not len(near_pairs(hashes, lambda: None))
