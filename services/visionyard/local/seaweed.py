"""The object store of the embedded stack: SeaweedFS (``weed``), all of it in one process, on loopback only.

What was measured on two cores (SeaweedFS 4.48): after ``kill -9`` in the middle of writes nothing that had been acknowledged was lost (647 objects in
four kills). With the default election timeout of 10 s the master needs up to 20 s to elect itself after a restart; with 400 ms the store
reads and writes again after 2.3 s. On SIGTERM it may linger for minutes while clients are connected, so its grace is short.
"""

from __future__ import annotations

import io
import json
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import urllib3
from minio import Minio

from visionyard.local.ports import HOST, address
from visionyard.local.specification import ProcessSpec
from visionyard.local.state import read_json, write_atomically

BUCKET = "visionyard"
REGION = "us-east-1"
_CREDENTIALS_MODE = 0o600
_VOLUME_SIZE_LIMIT_MB = 4096
_PROBE_TIMEOUT_S = 2.0
_PROBE_KEY = "local/ready"
_STOP_GRACE_S = 1.0  # it lingers on SIGTERM and loses nothing by SIGKILL


@dataclass(frozen=True)
class StoreCredentials:
    """The keys of the store's one identity."""

    access_key: str
    secret_key: str


def find_weed() -> Path | None:
    """The ``weed`` program: beside this interpreter, else on PATH."""
    beside = Path(sys.executable).parent / "weed"
    if beside.is_file():
        return beside
    found = shutil.which("weed")
    return Path(found) if found else None


def credentials(folder: Path) -> StoreCredentials:
    """The store's keys, made at random at the first call and kept in ``folder``/credentials.json, readable by its owner only."""
    path = folder / "credentials.json"
    known = read_json(path)
    if known and known.get("access_key") and known.get("secret_key"):
        return StoreCredentials(str(known["access_key"]), str(known["secret_key"]))
    made = StoreCredentials(secrets.token_hex(10), secrets.token_urlsafe(30))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"access_key": made.access_key, "secret_key": made.secret_key}) + "\n", _CREDENTIALS_MODE)
    return made


def _write_identities(path: Path, keys: StoreCredentials) -> None:
    identity = {
        "name": "visionyard",
        "credentials": [{"accessKey": keys.access_key, "secretKey": keys.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    write_atomically(path, json.dumps({"identities": [identity]}) + "\n", _CREDENTIALS_MODE)


def command(weed: Path, folder: Path, ports: Mapping[str, int]) -> tuple[str, ...]:
    """The command line of a store whose files lie in ``folder``.

    Args:
        weed: The program.
        folder: Holds data/ and identities.json.
        ports: Numbers of all of ``ports.STORE_PORTS``, by name.
    """
    options = {
        "dir": folder / "data",
        "ip": HOST,
        "ip.bind": HOST,
        "master.port": ports["store.master"],
        "master.port.grpc": ports["store.master_grpc"],
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": _VOLUME_SIZE_LIMIT_MB,
        "master.electionTimeout": "400ms",
        "master.heartbeatInterval": "100ms",
        "volume.port": ports["store.volume"],
        "volume.port.grpc": ports["store.volume_grpc"],
        "volume.max": 100,
        "volume.preStopSeconds": 0,
        "filer": "true",
        "filer.port": ports["store.filer"],
        "filer.port.grpc": ports["store.filer_grpc"],
        "filer.localSocket": folder / "filer.sock",
        "s3": "true",
        "s3.port": ports["store"],
        "s3.port.grpc": ports["store.s3_grpc"],
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.config": folder / "identities.json",
        "s3.localSocket": folder / "s3.sock",
        "metricsIp": HOST,
        "metricsPort": ports["store.metrics"],
    }
    return (str(weed), "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items()))


def prepare(folder: Path, ports: Mapping[str, int]) -> None:
    """Writes the identities and removes the sockets that a killed predecessor left (``weed`` puts some of them into /tmp, whatever is asked)."""
    (folder / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_identities(folder / "identities.json", credentials(folder))
    remove_sockets(folder, ports)


def remove_sockets(folder: Path, ports: Mapping[str, int]) -> None:
    """Removes the sockets of a store that has ended."""
    left = [folder / "filer.sock", folder / "s3.sock"]
    left += [Path("/tmp") / f"seaweedfs-{part}-grpc-{ports[f'store.{key}']}.sock" for part, key in _SOCKETS]  # noqa: S108 - fixed in weed
    for path in left:
        with suppress(OSError):
            path.unlink()


_SOCKETS = (("master", "master_grpc"), ("volume", "volume_grpc"), ("filer", "filer_grpc"), ("s3", "s3_grpc"))


def ready(endpoint: str, keys: StoreCredentials, bucket: str = BUCKET) -> Callable[[], bool]:
    """A check that writes, reads and removes an object: right after its start the S3 gateway answers before its volumes can be read."""

    def check() -> bool:
        pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=_PROBE_TIMEOUT_S / 4, read=_PROBE_TIMEOUT_S))
        client = Minio(endpoint, access_key=keys.access_key, secret_key=keys.secret_key, secure=False, region=REGION, http_client=pool)
        try:
            if not client.bucket_exists(bucket):
                client.make_bucket(bucket)
            client.put_object(bucket, _PROBE_KEY, io.BytesIO(b"ready"), 5)
            answer = client.get_object(bucket, _PROBE_KEY)
            try:
                whole = answer.read() == b"ready"
            finally:
                answer.close()
            client.remove_object(bucket, _PROBE_KEY)
        except Exception:  # noqa: BLE001 - whatever goes wrong, it is not ready
            return False
        finally:
            pool.clear()
        return whole

    return check


def specification(weed: Path, folder: Path, ports: Mapping[str, int]) -> ProcessSpec:
    """The store as the supervisor runs it.

    Args:
        weed: The program, see :func:`find_weed`.
        folder: Its state: data/, credentials.json, identities.json.
        ports: Numbers of all of ``ports.STORE_PORTS``, by name.
    """
    endpoint = address(ports, "store")
    return ProcessSpec(
        name="store",
        command=command(weed, folder, ports),
        environment={},
        working_dir=folder,
        ready=ready(endpoint, credentials(folder)),
        address=endpoint,
        metrics_address=address(ports, "store.metrics"),
        prepare=lambda: prepare(folder, ports),
        stop_grace_s=_STOP_GRACE_S,
    )
