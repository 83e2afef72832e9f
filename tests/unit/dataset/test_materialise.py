"""Versions as folders: what Ultralytics' own loader reads from them, and a cache that several processes share."""

import fcntl
import hashlib
import multiprocessing
import shutil
from pathlib import Path

import pytest
from tests.unit.dataset.conftest import good_set, picture, zipped

from visionyard.dataset.downloads import download
from visionyard.kit.artifacts.layout import image_path, label_path
from visionyard.kit.artifacts.manifest import ManifestRow
from visionyard.kit.artifacts.materialise import _batches, materialise
from visionyard.kit.errors import Reason, YardError

ROOM = 1 << 30


def odd_set():
    """Everything that Ultralytics would drop, change or complain of, if it met it."""
    files = good_set(6)
    files["data.yaml"] = 'train: images/train\nval: images/val\nnames: ["no", "1e3: \\"#x\\"", "猫"]\ndownload: "raise SystemExit"\n'
    files["labels/train/train0.txt"] = (
        "0 0.5 0.5 0.3 0.3\n0 0.5 0.5 0.3 0.3\n2 1.3 0.5 0.1 0.1\n1 0.95 0.5 0.2 0.2\n2 0.123456789012 0.3 0.1 0.1\n"
    )
    files["labels/train/train1.txt"] = "1 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.4\n0 .5 .5 .1 .1\n"
    files["images/train/train2.jpg"] = picture(2) + b"trailing bytes"
    files["images/train/train3.jpg"] = picture(3)[:-2]
    files["images/train/tiny.jpg"] = picture(50, 9, 9)
    files["images/train/bitmap.bmp"] = picture(51, suffix=".bmp")
    files["labels/train/bitmap.txt"] = "0 .5 .5 .2 .2\n"
    files["images/train/wrong.png"] = picture(52)
    files["labels/train/wrong.txt"] = "0 .5 .5 .2 .2\n"
    files["images/train/wrong.jpg"] = picture(53)
    files["images/train/background.png"] = picture(54, suffix=".png")
    files["images/train/sub/train0.jpg"] = picture(55)
    files["labels/train/sub/train0.txt"] = "2 .5 .5 .2 .2\n"
    files["labels/train.cache"] = b"\x80\x04cos\nsystem\n"
    return files


@pytest.mark.filterwarnings("ignore:.*")  # Ultralytics and torch warn of this machine
def test_ultralytics_reads_just_our_labels(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    version, _ = bench.run(zipped(odd_set()))
    rows = {(row.split, row.name): row for row in bench.rows(version)}
    with materialise(bench.store, version, tmp_path / "cache", ROOM) as folder:
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        data = check_det_dataset(folder / "data.yaml", autodownload=False)
        assert data["names"] == {0: "no", 1: '1e3: "#x"', 2: "猫"}
        for split in ("train", "val"):
            dataset = YOLODataset(img_path=data[split], data=data, task="detect", augment=False)
            read = {Path(label["im_file"]).name: label for label in dataset.labels}
            ours = {name: row for (of, name), row in rows.items() if of == split}
            assert set(read) == set(ours)
            for name, row in ours.items():
                found = sorted((int(c), *map(float, box)) for c, box in zip(read[name]["cls"][:, 0], read[name]["bboxes"], strict=True))
                wanted = [tuple(label[:5]) for label in row.labels]
                assert len(found) == len(wanted)
                assert all(one == pytest.approx(other, abs=1e-6) for one, other in zip(found, wanted, strict=True))
                assert read[name]["shape"] == (row.height, row.width)
        after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".cache"}
        assert after == before


def test_the_folder_is_found_again_and_keyed_by_content(bench, tmp_path):
    version, _ = bench.run(zipped(good_set()))
    calls = []
    with materialise(bench.store, version, tmp_path, ROOM, lambda *told: calls.append(told)) as folder:
        assert folder == tmp_path / version.digest.removeprefix("sha256:")
        assert calls[-1] == (6, 6)
        (folder / "labels" / "train.cache").write_bytes(b"made by training")
    calls.clear()
    with materialise(bench.store, version, tmp_path, ROOM, lambda *told: calls.append(told)) as again:
        assert (again / "labels" / "train.cache").exists()
    assert not calls


def test_a_stopped_build_goes_on(bench, tmp_path):
    version, _ = bench.run(zipped(good_set()))

    def stop(done, total):
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), materialise(bench.store, version, tmp_path, ROOM, stop):
        pass
    begun = sorted((tmp_path / f".building-{version.digest.removeprefix('sha256:')}").rglob("*.jpg"))
    assert len(begun) == 6
    begun[0].write_bytes(begun[0].read_bytes()[:-1])
    begun[1].write_bytes(bytes(begun[1].stat().st_size))
    begun[2].unlink()
    calls = []
    with materialise(bench.store, version, tmp_path, ROOM, lambda *told: calls.append(told)) as folder:
        assert calls[0] == (3, 6)
        assert calls[-1] == (6, 6)
        for row in bench.rows(version):
            assert (folder / label_path(row.split, row.name)).exists()
            assert hashlib.sha256((folder / image_path(row)).read_bytes()).hexdigest() == row.sha256
    assert not list(tmp_path.glob(".building*"))


def test_an_image_that_is_in_two_splits_is_fetched_for_both(bench, tmp_path):
    files = good_set()
    files["images/val/val0.jpg"] = files["images/train/train0.jpg"]
    version, _ = bench.run(zipped(files))
    rows = bench.rows(version)
    assert len({(row.shard, row.offset) for row in rows}) == len(rows) - 1
    with materialise(bench.store, version, tmp_path, ROOM) as folder:
        for row in rows:
            assert hashlib.sha256((folder / image_path(row)).read_bytes()).hexdigest() == row.sha256


def test_a_small_version_is_fetched_in_several_streams_too():
    rows = [ManifestRow("0" * 64, f"{at}.jpg", "train", 8, 8, "shard", at * 100_000, 100_000, ()) for at in range(400)]
    batches = list(_batches(rows, 4))
    assert [row for batch in batches for row in batch] == rows
    assert len(batches) >= 4


def test_those_used_longest_ago_make_room_but_none_in_use(bench, tmp_path):
    versions = [bench.run(zipped(good_set(4 + i)), f"set{i}")[0] for i in range(3)]
    size = sum(version.total_bytes for version in versions[:2]) + 3000
    with materialise(bench.store, versions[0], tmp_path, size) as used:
        with materialise(bench.store, versions[1], tmp_path, size) as idle:
            pass
        with materialise(bench.store, versions[2], tmp_path, size) as third:
            assert used.exists()
            assert third.exists()
            assert not idle.exists()


def test_what_killed_jobs_had_begun_to_build_is_removed_but_not_what_is_being_built(bench, tmp_path):
    version, _ = bench.run(zipped(good_set(6)))
    left, building = tmp_path / f".building-{'a' * 64}", tmp_path / f".building-{'b' * 64}"
    for folder in (left, building):
        (folder / "images").mkdir(parents=True)
    with (tmp_path / f"{'b' * 64}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with materialise(bench.store, version, tmp_path, ROOM):
            assert not left.exists()
            assert building.exists()


def test_a_version_above_the_limit_is_refused(bench, tmp_path):
    version, _ = bench.run(zipped(good_set()))
    with pytest.raises(YardError) as caught, materialise(bench.store, version, tmp_path, 100):
        pass
    assert caught.value.reason is Reason.DISK_FULL


def test_lost_images_are_told(bench, tmp_path):
    version, _ = bench.run(zipped(good_set()))
    bench.store.delete(bench.rows(version)[0].shard)
    with pytest.raises(YardError) as caught, materialise(bench.store, version, tmp_path, ROOM):
        pass
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT
    assert not list(tmp_path.glob("*/data.yaml"))


def _materialise(store, version, folder, built):
    def progress(done, total):
        if done == total:
            with built.get_lock():
                built.value += 1

    with materialise(store, version, folder, ROOM, progress) as made:
        assert len(list(made.rglob("*.jpg"))) == version.image_count


def test_processes_at_once_build_once(bench, tmp_path):
    version, _ = bench.run(zipped(good_set(40)))
    fork = multiprocessing.get_context("fork")
    built = fork.Value("i", 0)
    crowd = [fork.Process(target=_materialise, args=(bench.store, version, tmp_path, built)) for _ in range(4)]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join(60)
    assert [process.exitcode for process in crowd] == [0, 0, 0, 0]
    assert built.value == 1


def test_a_downloaded_set_is_found_from_any_working_directory(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    from ultralytics.data.utils import check_det_dataset

    version, _ = bench.run(zipped(good_set()))
    for part in download(bench.store, version, "yolo", "").parts:
        if part.path:
            path = tmp_path / "set" / part.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        else:
            path.write_bytes(path.read_bytes() + part.data)
    monkeypatch.chdir(tmp_path)
    found = check_det_dataset(tmp_path / "set" / "data.yaml", autodownload=False)
    assert found["train"] == str(tmp_path / "set" / "images" / "train")


@pytest.mark.parametrize("after", range(-1, 13))
def test_a_download_is_the_same_folder_and_goes_on_anywhere(bench, tmp_path, after):
    version, _ = bench.run(zipped(good_set()))
    brought = download(bench.store, version, "yolo", "")
    files: dict[str, bytearray] = {}
    for part in brought.parts:
        if part.path:
            assert part.path not in files
            newest = files[part.path] = bytearray()
            size = part.size
        else:
            newest += part.data
        assert len(newest) <= size
    assert brought.file_count == len(files) == 13
    assert brought.total_bytes == sum(map(len, files.values()))
    with materialise(bench.store, version, tmp_path, ROOM) as folder:
        for path, data in files.items():
            if path != "data.yaml":
                assert (folder / path).read_bytes() == data
    paths = list(files)
    rest = download(bench.store, version, "yolo", paths[after] if after >= 0 else "")
    assert [part.path for part in rest.parts if part.path] == paths[after + 1 :]
    shutil.rmtree(tmp_path)
