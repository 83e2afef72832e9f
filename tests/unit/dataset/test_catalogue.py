"""Downloads hold few bytes at once, and page tokens that were made up are refused."""

import base64
import hashlib

import pytest
from tests.unit.dataset.conftest import good_set, picture, zipped

from visionyard.dataset import downloads as module
from visionyard.dataset.catalogue import Catalogue
from visionyard.dataset.downloads import download
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName


def files(download):
    got = {}
    for part in download.parts:
        if part.path:
            path = part.path
            got[path] = b""
        else:
            got[path] += part.data
    return got


def test_a_download_holds_few_bytes_at_once(bench, monkeypatch):
    """Images lie in the shard as in the archive, here in the opposite of the manifest's order: a run is read whole before its first goes out."""
    many = {"data.yaml": good_set()["data.yaml"]}
    for split, number in (("val", 2), ("train", 30)):
        for i in reversed(range(number)):
            many[f"images/{split}/{split}{i:02}.jpg"] = picture((split == "val") * 1000 + i, 200, 160)
            many[f"labels/{split}/{split}{i:02}.txt"] = "0 0.5 0.5 0.25 0.25\n"
    version, _ = bench.run(zipped(many))
    longest = max(row.length for row in bench.rows(version))
    monkeypatch.setattr(module, "_RUN_BYTES", 4 * longest)
    runs = []
    real = module.read_images

    def counting(store, rows, version):
        runs.append(sum(row.length for row in rows))
        return real(store, rows, version)

    monkeypatch.setattr(module, "read_images", counting)
    whole = files(download(bench.store, version, "yolo", ""))
    assert max(runs) <= 4 * longest
    assert len(whole) == 1 + 2 * 32
    assert whole["images/train/train07.jpg"] == many["images/train/train07.jpg"]
    paths = list(whole)
    for after in (0, 1, 2, 17, 18, len(paths) - 1):
        rest = files(download(bench.store, version, "yolo", paths[after]))
        assert rest == {path: whole[path] for path in paths[after + 1 :]}
    monkeypatch.setattr(module, "_RUN_BYTES", 1)  # each image alone is more
    assert files(download(bench.store, version, "yolo", "")) == whole


def forged(parent, position):
    """Anybody can compute it."""
    digest = hashlib.sha256(parent.encode() + b"\0" + position).digest()[:12]
    return base64.urlsafe_b64encode(digest + position).decode().rstrip("=")


@pytest.mark.parametrize("position", [b"abc", b"-1", b"\xc2\xb2", b"1" * 400, b"1\0", b" 1"])
def test_a_page_token_that_was_made_up_is_refused(bench, position):
    bench.run(zipped(good_set()))
    dataset = ResourceName("default", "datasets", "set")
    with pytest.raises(YardError) as caught:
        Catalogue(bench.store).list_versions(dataset, 0, forged(f"{dataset}/versions", position))
    assert caught.value.reason is Reason.INVALID_PAGE_TOKEN
