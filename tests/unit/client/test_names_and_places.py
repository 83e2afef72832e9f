"""What people type as resource names, where servers are looked for, and where downloaded files may land."""

import inspect
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import visionyard.client.client as client_module
from visionyard.client.downloads import safe_target
from visionyard.client.endpoints import Endpoints, default_state_dir
from visionyard.client.errors import ClientError
from visionyard.client.jobs import by_short_id
from visionyard.client.references import References, short
from visionyard.client.sync import Blocking, BlockingIterator, Facade, LoopThread


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cones", "projects/p/datasets/cones/versions/-"),
        ("cones@3", "projects/p/datasets/cones/versions/3"),
        ("projects/q/datasets/cones", "projects/q/datasets/cones/versions/-"),
        ("projects/q/datasets/cones@2", "projects/q/datasets/cones/versions/2"),
        ("projects/q/datasets/cones/versions/7", "projects/q/datasets/cones/versions/7"),
        ("shared/cones", "projects/shared/datasets/cones/versions/-"),
        ("shared/cones@4", "projects/shared/datasets/cones/versions/4"),
    ],
)
def test_versions_as_people_write_them(text, name):
    assert References("p").version("datasets", text) == name
    assert short(References("p").version("datasets", short(name))).split("@")[1] == name.split("/")[-1]


def test_what_is_shared_is_written_with_its_project():
    assert short("projects/shared/datasets/flowers/versions/3") == "shared/flowers@3"
    assert short("projects/shared/models/m") == "shared/m"
    assert short("projects/default/datasets/flowers/versions/3") == "flowers@3"
    assert short("projects/shared/importJobs/0a") == "0a"
    assert References("p").resource("models", "shared/m") == "projects/shared/models/m"


@pytest.mark.parametrize(
    "text",
    [
        "other/cones",
        "shared/",
        "shared/a/b",
        "/cones",
        "shared/-x@1",
        "",
        "@1",
        "cones@",
        "cones@0",
        "cones@x",
        "cones@1@2",
        "../x",
        "projects/q/models/m/versions/1",
        "a b",
        "-x",
    ],
)
def test_what_is_no_version_is_refused(text):
    with pytest.raises(ClientError) as error:
        References("p").version("datasets", text)
    assert error.value.reason == "INVALID_NAME"


def test_addresses_come_from_the_environment_then_the_state_directory_then_the_usual_ports(tmp_path, monkeypatch):
    for service in ("DATASET", "TRAINING", "EXPORT", "INFERENCE"):
        monkeypatch.delenv(f"VISIONYARD_{service}_ADDR", raising=False)
    endpoints = Endpoints(tmp_path)
    assert endpoints.address("inference") == "127.0.0.1:50054"
    (tmp_path / "endpoints.json").write_text(json.dumps({"inference": "127.0.0.1:7", "dataset": 5}))
    assert endpoints.address("inference") == "127.0.0.1:7", "read afresh each time"
    assert endpoints.address("dataset") == "127.0.0.1:50051", "what is no address does not count"
    monkeypatch.setenv("VISIONYARD_INFERENCE_ADDR", "gpu:9")
    assert endpoints.address("inference") == "gpu:9"
    (tmp_path / "endpoints.json").write_text("{half")
    assert endpoints.address("training") == "127.0.0.1:50052"


def test_the_state_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("VISIONYARD_HOME", str(tmp_path))
    assert default_state_dir() == tmp_path
    monkeypatch.delenv("VISIONYARD_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_state_dir() == tmp_path / ".local" / "share" / "visionyard"


@given(st.text(st.sampled_from("ab./\\\0"), max_size=12))
def test_no_path_leads_out_of_the_folder(tmp_path_factory, path):
    folder = tmp_path_factory.getbasetemp().resolve()
    try:
        target = safe_target(folder, path).resolve()
    except ClientError:
        target = folder / "refused"
    assert target.is_relative_to(folder)
    assert target != folder


def test_a_link_in_the_folder_does_not_lead_out(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    with pytest.raises(ClientError, match="outside"):
        safe_target(tmp_path / "in", "link/a.txt")


def test_short_job_ids():
    names = [
        f"projects/default/{kind}/{id_}"
        for kind, id_ in (("importJobs", "u0aaaa11"), ("trainingJobs", "u0aaaa22"), ("exportJobs", "u0bbbb22"))
    ]
    assert by_short_id(names, "u0b") == names[2]
    assert by_short_id(names, "11") == names[0], "the end differs sooner than the beginning"
    assert by_short_id(names, "u0aaaa22") == names[1]
    with pytest.raises(ClientError, match="fits 2 jobs"):
        by_short_id(names, "22")
    with pytest.raises(ClientError) as error:
        by_short_id(names, "zz")
    assert error.value.reason == "JOB_NOT_FOUND"


def test_both_clients_have_the_same_methods():
    facades = [c for _, c in inspect.getmembers(client_module, inspect.isclass) if issubclass(c, Facade)]
    assert len(facades) == 12
    for facade in facades:
        asynchronous = getattr(client_module, f"Async{facade.__name__}")
        theirs = {name for name, _ in inspect.getmembers(asynchronous, inspect.isroutine) if not name.startswith("_")}
        ours = {name for name, value in inspect.getmembers(facade) if isinstance(value, Blocking | BlockingIterator)}
        assert ours == theirs, facade.__name__


class _Target:
    async def double(self, value):
        if value < 0:
            raise ValueError(value)
        return 2 * value

    async def count(self, to):
        for i in range(to):
            yield i


class _Face(Facade):
    double = Blocking(_Target.double)
    count = BlockingIterator(_Target.count)


def test_blocking_methods_return_raise_and_iterate():
    loop = LoopThread()
    face = _Face(_Target(), loop)
    assert face.double(4) == 8
    with pytest.raises(ValueError, match="-1"):
        face.double(-1)
    assert list(face.count(3)) == [0, 1, 2]
    endless = face.count(10**9)
    assert next(endless) == 0
    endless.close()
    loop.close()
