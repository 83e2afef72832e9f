"""Pushed weight files: the same request again, and a few at once."""

import asyncio
import base64
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.training.inspection import WeightFacts
from visionyard.training.mapping import address_from_proto
from visionyard.training.models import Models
from visionyard.training.turns import Turns

MODEL = ResourceName("default", "models", "m")
OTHER = ResourceName("default", "models", "n")
UPLOAD = ResourceName("default", "uploads", "u")


class Uploads:
    """Complete uploads in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def put(self, name, data):
        (self.folder / name.id).write_bytes(data)

    @contextmanager
    def as_file(self, name):
        path = self.folder / name.id
        if not path.exists():
            raise YardError(Reason.UPLOAD_NOT_FOUND, "gone", {"name": str(name)})
        yield path, hashlib.sha256(path.read_bytes()).hexdigest()

    def delete(self, name):
        (self.folder / name.id).unlink(missing_ok=True)


@pytest.fixture
def uploads(tmp_path):
    return Uploads(tmp_path)


@pytest.fixture
def models(uploads):
    def convert(path, _name, network, target):
        target.write_bytes(b"made of " + path.read_bytes())
        return WeightFacts("classify", ("untrained",), 1, 224, 1, f"{network}.yaml")

    return Models(MemoryObjectStore(), uploads, lambda *_: WeightFacts("detect", ("cone",), 1, 640, 32, ""), convert)


def test_a_request_made_again_after_its_upload_is_gone_gives_its_version(models, uploads):
    uploads.put(UPLOAD, b"one")
    made = models.push(MODEL, UPLOAD, "a.pt", "r1")
    uploads.put(UPLOAD, b"two")
    assert models.push(MODEL, UPLOAD, "a.pt", "r2").name.number == 2
    assert models.push(MODEL, UPLOAD, "a.pt", "r1").name == made.name, "also where it is not the newest any more"
    with pytest.raises(YardError) as error:
        models.push(MODEL, UPLOAD, "a.pt", "r3")
    assert error.value.reason is Reason.UPLOAD_NOT_FOUND


def test_an_upload_sent_again_for_a_request_that_was_done_is_thrown_away(models, uploads):
    uploads.put(UPLOAD, b"one")
    made = models.push(MODEL, UPLOAD, "a.pt", "r1")
    uploads.put(UPLOAD, b"one")
    assert models.push(MODEL, UPLOAD, "a.pt", "r1").name == made.name
    assert list(uploads.folder.iterdir()) == []


def test_bytes_whose_origin_becomes_known_get_a_version_that_says_it(models, uploads):
    numbers = []
    for request, origin in (("r1", ""), ("r2", "file:n.pt"), ("r3", "file:n.pt"), ("r4", "")):
        uploads.put(UPLOAD, b"one")
        numbers.append(models.push(MODEL, UPLOAD, "n.pt", request, "", origin).name.number)
    assert numbers == [1, 2, 2, 2]


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("", ""),
        ("https://host/n.pt?signed=secret", "https://host/n.pt"),
        ("file:n.pt", "file:n.pt"),
        ("file:/home/anna/n.pt", "file:n.pt"),
        ("file:C:\\Users\\anna\\n.pt", "file:n.pt"),
    ],
)
def test_an_origin_holds_no_signature_and_no_folder(told, kept):
    assert address_from_proto(told) == kept


def test_another_origin_is_refused():
    with pytest.raises(YardError) as refused:
        address_from_proto("/home/anna/n.pt")
    assert refused.value.reason is Reason.INVALID_FIELD


def test_a_request_id_asks_for_one_thing_only(models, uploads):
    uploads.put(UPLOAD, b"one")
    models.push(MODEL, UPLOAD, "a.pt", "r1")
    uploads.put(UPLOAD, b"one")
    with pytest.raises(YardError) as error:
        models.push(OTHER, UPLOAD, "a.pt", "r1")
    assert error.value.reason is Reason.REQUEST_ID_REUSED
    with pytest.raises(YardError, match="at most"):
        models.push(MODEL, UPLOAD, "a.pt", "r" * 1000)


async def test_no_more_run_at_once_than_may_and_the_rest_is_refused_after_a_moment():
    running, go_on = [], threading.Event()

    def work():
        running.append(1)
        go_on.wait(20)
        return "done"

    with ThreadPoolExecutor(4) as executor:
        turns = Turns(executor, 2, 0.2, "busy")
        calls = [asyncio.create_task(turns.take(work)) for _ in range(2)]
        while len(running) < 2:
            await asyncio.sleep(0.01)
        with pytest.raises(YardError, match="busy") as error:
            await turns.take(work)
        assert (error.value.reason, error.value.retry_after_s) == (Reason.OVERLOADED, 2.0)
        calls[0].cancel()  # its thread still runs, so its turn is not over
        with pytest.raises(YardError, match="busy"):
            await turns.take(work)
        assert len(running) == 2
        go_on.set()
        assert await calls[1] == "done"
        assert await turns.take(lambda: "next") == "next"


@pytest.mark.parametrize("position", [b"abc", b"-1", b"1" * 400])
def test_a_page_token_that_was_made_up_is_refused(models, position):
    """Anybody can compute its digest."""
    digest = hashlib.sha256(f"{MODEL}/versions".encode() + b"\0" + position).digest()[:12]
    with pytest.raises(YardError) as error:
        models.list_versions(MODEL, 0, base64.urlsafe_b64encode(digest + position).decode().rstrip("="))
    assert error.value.reason is Reason.INVALID_PAGE_TOKEN


def test_a_state_dict_becomes_weights_that_are_a_start(models, uploads):
    uploads.put(UPLOAD, b"one")
    made = models.push(MODEL, UPLOAD, "a/resnet34-b627.pth", "r1", "resnet34")
    assert (made.task, made.architecture, made.pushed_file, made.weights) == (
        "classify",
        "resnet34.yaml",
        "resnet34-b627.pth",
        "resnet34.pt",
    )
    assert made.state_dict_sha256 == hashlib.sha256(b"one").hexdigest()
    assert made.digest == f"sha256:{hashlib.sha256(b'made of one').hexdigest()}"
    assert list(uploads.folder.iterdir()) == []


def test_the_same_state_dict_again_is_the_same_version_but_not_of_another_network(models, uploads):
    numbers = []
    for request, data, network in (
        ("r1", b"one", "resnet34"),
        ("r2", b"one", "resnet34"),
        ("r3", b"one", "resnet18"),
        ("r4", b"two", "resnet18"),
        ("r5", b"two", ""),
    ):
        uploads.put(UPLOAD, data)
        numbers.append(models.push(MODEL, UPLOAD, "a.pth", request, network).name.number)
    assert numbers == [1, 1, 2, 3, 4]
    uploads.put(UPLOAD, b"one")
    assert models.push(MODEL, UPLOAD, "a.pth", "r1", "resnet34").name.number == 1, "also where it is not the newest any more"
    with pytest.raises(YardError) as error:
        models.push(MODEL, UPLOAD, "a.pth", "r1", "resnet18")
    assert error.value.reason is Reason.REQUEST_ID_REUSED


def test_an_unknown_network_is_refused_and_its_upload_thrown_away(models, uploads):
    uploads.put(UPLOAD, b"one")
    with pytest.raises(YardError, match="resnet34") as error:
        models.push(MODEL, UPLOAD, "a.pth", "r1", "resnet35")
    assert error.value.reason is Reason.INVALID_FIELD
    assert list(uploads.folder.iterdir()) == []
