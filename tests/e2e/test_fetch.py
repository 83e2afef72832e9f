"""`yard dataset import URL`: the service fetches, the client uploads nothing."""

import io
import json
import tarfile

import pytest

from visionyard.client import Client
from visionyard.local import sample


@pytest.fixture
def packed(tmp_path):
    """A sample as a tar, and its files."""
    sample.generate(tmp_path / "set", 10)
    files = {path.relative_to(tmp_path / "set").as_posix(): path.read_bytes() for path in (tmp_path / "set").rglob("*") if path.is_file()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(tmp_path / "set", "set")
    return buffer.getvalue(), files


def test_an_address_instead_of_a_path(stack, web, packed, tmp_path):
    data, files = packed
    url = web.file("/open/set.tar", data, drop_after=len(data) // 2)
    job = stack.json("dataset", "import", url, "--name", "fetched")["import_job"]
    assert (job["spec"]["source_url"], job["spec"]["upload"]) == (url, "")
    version = job["dataset_version"]
    again = stack.json("dataset", "import", url, "--name", "fetched")["import_job"]
    assert again["name"] != job["name"]
    assert again["dataset_version"] == version

    stack.put_source("sources", "sets/set.tar", data)
    for path, content in files.items():
        stack.put_source("sources", f"sets/folder/{path}", content)
    digests = [
        stack.json("dataset", "import", source, "--name", f"s3-{i}")["import_job"]["dataset_version"]["digest"]
        for i, source in enumerate(["s3://sources/sets/set.tar", "s3://sources/sets/folder/"])
    ]
    assert digests == [version["digest"]] * 2
    with Client(state_dir=stack.home) as client:
        assert client.imports.run(url, "by-client").dataset_version.digest == version["digest"]
    held = stack.keys()
    assert not any("/uploads/" in key for key in held)


def test_an_address_that_is_not_listed(stack, web):
    done = stack.yard("dataset", "import", f"{web.root}/secret.zip", "--name", "fetched", "--json")
    assert done.returncode == 1
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert (error["code"], error["reason"]) == ("PERMISSION_DENIED", "SOURCE_NOT_ALLOWED")
    assert "VISIONYARD_IMPORT_ALLOW" in error["message"]
    done = stack.yard("dataset", "import", f"{web.root}/open/nothing.zip?x", "--name", "fetched")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
