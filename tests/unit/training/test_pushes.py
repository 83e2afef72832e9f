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
    return Models(MemoryObjectStore(), uploads, lambda *_: WeightFacts("detect", ("cone",), 1, 640, 32, ""))


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
