"""The client against servers that break, move, refuse and stay away."""

import asyncio
import hashlib
import json
import time

import grpc
import pytest

from visionyard.client import AsyncClient, Client, ClientError, JobFailed, NoServer, transport
from visionyard.client.dataset_download import STATE_FILE
from visionyard.client.sources import FolderSource, open_source
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.request_id import reset_request_id, set_request_id
from visionyard.transfer.v1 import transfer_service_pb2


@pytest.fixture
async def client(server, tmp_path):
    async with AsyncClient(addresses={"dataset": server.address, "training": server.address}, state_dir=tmp_path / "state") as made:
        yield made


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    for i in range(5):
        (root / f"{i}.bin").write_bytes(bytes([i]) * 1_500_000)
    return root


async def test_an_upload_goes_on_at_the_committed_offset_after_each_break(client, server, folder):
    server.transfers.breaks = {2_000_000, 5_000_000}
    source = FolderSource(folder)
    upload = await client.uploads.upload("dataset", source)
    assert upload.complete
    assert hashlib.sha256(server.transfers.data[upload.name]).hexdigest() == await source.sha256()
    assert len(server.transfers.begun_at) == 3
    assert server.transfers.begun_at[0] == 0
    assert 2_000_000 <= server.transfers.begun_at[1] < 4_100_000
    assert server.transfers.begun_at[2] > server.transfers.begun_at[1]


async def test_the_same_request_after_a_killed_client_sends_only_the_rest(client, server, folder):
    source, transfers = FolderSource(folder), server.transfers
    transfers.stops_at = 3_000_000
    task = asyncio.create_task(client.uploads.upload("dataset", source, request_id="r"))
    assert await asyncio.to_thread(transfers.stopped.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    transfers.goes_on.set()
    stored = len(transfers.data[next(iter(transfers.data))])
    assert 3_000_000 <= stored < source.size_bytes
    upload = await client.uploads.upload("dataset", FolderSource(folder), request_id="r")
    assert upload.complete
    assert transfers.begun_at[-1] >= stored


@pytest.mark.parametrize("variable", ["http_proxy", "grpc_proxy"])
async def test_a_proxy_is_not_asked_for_servers_of_this_machine(server, tmp_path, monkeypatch, variable):
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    port = server.address.split(":")[1]
    for address in (server.address, f"localhost:{port}"):
        async with AsyncClient(addresses={"dataset": address}, state_dir=tmp_path) as made:
            (tmp_path / "file.zip").write_bytes(b"x")
            assert (await made.uploads.upload("dataset", open_source(tmp_path / "file.zip"))).complete


async def test_an_empty_file_is_an_upload_too(client, tmp_path):
    (tmp_path / "empty.zip").write_bytes(b"")
    assert (await client.uploads.upload("dataset", open_source(tmp_path / "empty.zip"))).complete


async def test_a_file_that_changed_on_the_way_is_refused(client, folder):
    source = FolderSource(folder)
    await source.sha256()
    (folder / "3.bin").write_bytes(b"9" * 1_500_000)
    with pytest.raises(ClientError) as error:
        await client.uploads.upload("dataset", source)
    assert error.value.reason == "UPLOAD_CORRUPT"
    (folder / "3.bin").write_bytes(b"9")
    with pytest.raises(ClientError, match="changed while"):
        await client.uploads.upload("dataset", source)


async def test_a_download_goes_on_and_its_sha256_is_checked(client, server, tmp_path):
    data = server.transfers.files["best.pt"] = bytes(range(256)) * 40
    server.transfers.breaks = {3000, 6000}
    stored = transfer_service_pb2.StoredFile(path="best.pt", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    downloads = client.training._downloads
    (target,) = await downloads.files("training", "projects/p/trainingJobs/j", [stored], tmp_path / "run")
    assert target.read_bytes() == data
    assert server.transfers.breaks == set()
    (tmp_path / "run" / "best.pt").unlink()
    (tmp_path / "run" / "best.pt.part").write_bytes(data[:100] + b"damaged" + data[107:5000])
    (target,) = await downloads.files("training", "projects/p/trainingJobs/j", [stored], tmp_path / "run")
    assert target.read_bytes() == data, "a damaged part is thrown away and fetched again"
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["best.pt"]
    stored.sha256 = "0" * 64
    with pytest.raises(ClientError, match="arrived damaged"):
        await downloads.files("training", "projects/p/trainingJobs/j", [stored], tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


async def test_a_file_still_being_written_has_no_sha256(client, server, tmp_path):
    server.transfers.files = {"log.txt": b"abc" * 900, "empty.txt": b""}
    stored = [transfer_service_pb2.StoredFile(path=path) for path in ("log.txt", "empty.txt")]
    paths = await client.training._downloads.files("training", "projects/p/trainingJobs/j", stored, tmp_path)
    assert [path.read_bytes() for path in paths] == [b"abc" * 900, b""]


async def test_a_server_cannot_write_outside_of_the_folder(client, server, tmp_path):
    server.transfers.files["../evil"] = b"x"
    with pytest.raises(ClientError, match="outside"):
        await client.training._downloads.files("training", "n", [transfer_service_pb2.StoredFile(path="../evil")], tmp_path / "in")
    server.datasets.files = {"../../evil": b"x"}
    with pytest.raises(ClientError, match="outside"):
        await client.datasets.download("cones", tmp_path / "in")
    assert not (tmp_path / "evil").exists()


async def test_a_dataset_download_goes_on_within_a_call_and_in_the_next(client, server, tmp_path):
    server.datasets.break_after = 5
    done = await client.datasets.download("cones", tmp_path / "a")
    assert done.file_count == 9
    assert server.datasets.asked_after[0] == ""
    assert server.datasets.asked_after[1] != ""
    assert {str(p.relative_to(tmp_path / "a")): p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()} == server.datasets.files

    def stop(path, *_):
        if path == "images/train/05.jpg":
            raise KeyboardInterrupt

    server.datasets.asked_after.clear()
    with pytest.raises(KeyboardInterrupt):
        await client.datasets.download("cones", tmp_path / "b", stop)
    assert json.loads((tmp_path / "b" / STATE_FILE).read_text())["last_path"] == "images/train/04.jpg"
    done = await client.datasets.download("cones", tmp_path / "b")
    assert server.datasets.asked_after == ["", "images/train/04.jpg"]
    assert (done.file_count, done.total_bytes) == (9, sum(map(len, server.datasets.files.values())))
    assert {str(p.relative_to(tmp_path / "b")): p.read_bytes() for p in (tmp_path / "b").rglob("*") if p.is_file()} == server.datasets.files


async def test_a_dataset_download_names_what_else_lies_in_its_folder(client, server, tmp_path):
    folder = tmp_path / "used"
    (folder / "images" / "train").mkdir(parents=True)
    for name in ("images/train/05.jpg", "images/train/05.jpg.part", "images/train/old.jpg", "notes.txt", ".hidden"):
        (folder / name).touch()

    def stop(path, *_):
        if path == "images/train/03.jpg":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await client.datasets.download("cones", folder, stop)
    assert (await client.datasets.download("cones", folder)).others == ("images/train/old.jpg", "notes.txt")
    assert (await client.datasets.download("cones", tmp_path / "empty")).others == ()


async def test_a_watch_misses_nothing_and_repeats_nothing(client, server):
    seen = [(s.sequence, s.job.status.state) async for s in client.imports.watch("j1")]
    assert seen == server.imports.snapshots
    assert server.imports.asked_after == [0, 1, 2, 3]


async def test_a_failed_job_raises_its_own_error(client, server):
    server.imports.error = YardError(Reason.ARCHIVE_BOMB, "it would unpack to 600 MB", {"file": "a.zip"})
    server.imports.snapshots[-1] = (4, job_pb2.JOB_STATE_FAILED)
    with pytest.raises(JobFailed) as error:
        await client.imports.wait("j1")
    assert error.value.to_json() == {
        "code": "INVALID_ARGUMENT",
        "reason": "ARCHIVE_BOMB",
        "message": "it would unpack to 600 MB",
        "metadata": {"file": "a.zip"},
    }


async def test_reads_are_repeated_while_the_server_is_away_and_pages_are_joined(client, server):
    server.datasets.fail = [
        grpc.StatusCode.UNAVAILABLE,
        YardError(Reason.STORE_UNAVAILABLE, "the store is away"),
        grpc.StatusCode.CANCELLED,
    ]
    assert [d.name for d in await client.datasets.list()] == ["a", "b"]


async def test_a_call_whose_deadline_passed_is_made_again(client, server, monkeypatch):
    server.datasets.fail = [grpc.StatusCode.DEADLINE_EXCEEDED, YardError(Reason.DEADLINE_EXCEEDED, "not in time")]
    assert [d.name for d in await client.datasets.list()] == ["a", "b"]
    monkeypatch.setattr(transport, "PATIENCE_S", 0.0)
    server.datasets.fail = [grpc.StatusCode.DEADLINE_EXCEEDED]
    with pytest.raises(ClientError, match=f"{server.address} did not answer in time") as error:
        await client.datasets.list()
    assert (error.value.code.name, error.value.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_a_training_may_wait_for_a_service_that_has_just_started(client, server):
    await client.training.create("cones", model="m", architecture="yolov8n.yaml")
    assert 170 < server.trainings.create_deadline_s <= 181, "gRPC sends more than 100 s rounded up to whole seconds"


@pytest.mark.parametrize("vanished", [False, True])
async def test_a_file_that_a_running_job_replaces_meanwhile_is_read_in_its_newest_form(client, server, tmp_path, vanished):
    old, new = b"epoch 1" * 1000, b"epoch 2, shorter" * 100
    server.trainings.lists = [{"best.pt": old}, {"best.pt": new}]
    (tmp_path / "best.pt.part").write_bytes(old[:5000] if vanished else b"")

    def replace():
        if len(server.trainings.lists) == 1 or not vanished:
            server.transfers.files["best.pt"] = new

    server.trainings.listed = replace
    (target,) = await client.training.download("j", tmp_path)
    assert target.read_bytes() == new
    assert server.trainings.lists == []
    assert [path.name for path in tmp_path.glob("best*")] == ["best.pt"]


async def test_a_file_that_a_job_lists_and_does_not_hold_is_told(client, server, tmp_path):
    server.trainings.lists = [{"best.pt": b"x"}] * 5
    with pytest.raises(ClientError) as error:
        await client.training.download("j", tmp_path)
    assert error.value.reason == "FILE_NOT_FOUND"


async def test_refusals_are_not_repeated(client, server):
    server.datasets.fail = [YardError(Reason.INVALID_FIELD, "parent: is wrong", {"field": "parent"}), grpc.StatusCode.INTERNAL]
    with pytest.raises(ClientError) as error:
        await client.datasets.list()
    assert (error.value.code.name, error.value.reason, dict(error.value.metadata)) == (
        "INVALID_ARGUMENT",
        "INVALID_FIELD",
        {"field": "parent"},
    )
    assert len(server.datasets.seen_ids) == 1
    with pytest.raises(ClientError) as error:
        await client.datasets.list()
    assert (error.value.code.name, error.value.reason) == ("INTERNAL", "")


async def test_one_request_id_goes_with_every_call(client, server):
    token = set_request_id("my-request")
    await client.datasets.list()
    reset_request_id(token)
    assert server.datasets.seen_ids == ["my-request", "my-request"]
    await client.datasets.list()
    assert len(set(server.datasets.seen_ids)) == 3, "without one, each call has its own"


async def test_nobody_there(monkeypatch, tmp_path):
    monkeypatch.setattr(transport, "FIRST_CONTACT_S", 0.5)
    monkeypatch.setattr(transport, "_SAY_WAITING_AFTER_S", 0.1)
    told = []
    begin = time.monotonic()
    async with AsyncClient(addresses={"dataset": "127.0.0.1:1"}, state_dir=tmp_path, on_waiting=told.append) as client:
        with pytest.raises(NoServer, match=r"127\.0\.0\.1:1;") as error:
            await client.datasets.list()
    assert error.value.to_json()["code"] == "UNAVAILABLE"
    assert 0.4 < time.monotonic() - begin < 10
    assert len(told) == 1, "it says once whom it waits for"


async def test_a_server_that_went_away_is_waited_for_longer_than_one_never_seen(server, monkeypatch, tmp_path):
    monkeypatch.setattr(transport, "FIRST_CONTACT_S", 0.1)
    monkeypatch.setattr(transport, "PATIENCE_S", 20.0)
    async with AsyncClient(addresses={"dataset": server.address}, state_dir=tmp_path) as client:
        await client.datasets.list()
        server.stop()
        waiting = asyncio.create_task(client.datasets.list())
        await asyncio.sleep(1)
        assert not waiting.done()
        server.start(int(server.address.rsplit(":", 1)[1]))
        assert len(await waiting) == 2


async def test_a_stack_on_other_ports_is_found_again(server, tmp_path, monkeypatch):
    monkeypatch.delenv("VISIONYARD_DATASET_ADDR", raising=False)
    endpoints = tmp_path / "endpoints.json"
    endpoints.write_text(json.dumps({"dataset": server.address}))
    async with AsyncClient(state_dir=tmp_path) as client:
        await client.datasets.list()
        old = server.address
        server.stop()
        waiting = asyncio.create_task(client.datasets.list())
        await asyncio.sleep(0.3)
        server.start()
        assert server.address != old
        endpoints.write_text(json.dumps({"dataset": server.address}))
        assert len(await waiting) == 2


def test_the_blocking_client_does_the_same(server, tmp_path):
    with Client(addresses={"dataset": server.address}, state_dir=tmp_path) as client:
        assert [d.name for d in client.datasets.list()] == ["a", "b"]
        assert [s.sequence for s in client.imports.watch("j1")] == [1, 2, 3, 4]
        server.datasets.fail = [YardError(Reason.INVALID_FIELD, "no")]
        with pytest.raises(ClientError, match="no"):
            client.datasets.list()
