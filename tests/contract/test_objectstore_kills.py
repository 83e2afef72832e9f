"""What a writer leaves in an S3 store that is killed over a file."""

import os
import subprocess
import sys
import time
from pathlib import Path

from multipart import unfinished

from visionyard.kit.objectstore.s3 import S3ObjectStore

_FILE_BYTES = 192 << 20
_KILLED_AT = 64 << 20
_WRITE = """
import sys
from pathlib import Path
from visionyard.kit.objectstore.s3 import S3ObjectStore, S3Settings
endpoint, bucket, access_key, secret_key, region, file = sys.argv[1:]
sys.stdin.readline()
S3ObjectStore(S3Settings(endpoint, bucket, access_key, secret_key, region)).put_file("p/shard", Path(file))
"""


def read_bytes(pid):
    """How much a process has read, files and sockets together."""
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


def test_a_writer_that_is_killed_over_a_large_file_leaves_nothing(seaweed, s3_bucket, tmp_path):
    source = tmp_path / "shard.tar"
    source.write_bytes(os.urandom(1 << 20) * (_FILE_BYTES >> 20))
    settings = seaweed.settings(s3_bucket)
    words = [settings.endpoint, settings.bucket, settings.access_key, settings.secret_key, settings.region, str(source)]
    with subprocess.Popen([sys.executable, "-c", _WRITE, *words], stdin=subprocess.PIPE) as writer:
        writer.stdin.write(b"\n")
        writer.stdin.flush()
        end = time.monotonic() + 60
        while writer.poll() is None and read_bytes(writer.pid) < _KILLED_AT:
            assert time.monotonic() < end
            time.sleep(0.005)
        writer.kill()
        assert writer.wait() == -9
    assert unfinished(settings, "p/") == []
    assert list(S3ObjectStore(settings).list("p/")) == []
