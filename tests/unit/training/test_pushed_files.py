import hashlib

from visionyard.kit.names import ProjectName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.transfer.uploads import UploadStore
from visionyard.training.pushed_files import PushedFiles, clear_leftovers


def test_what_a_killed_service_left_goes_but_not_what_is_in_use(tmp_path):
    uploads = UploadStore(MemoryObjectStore(), 1 << 20)
    upload = uploads.start(ProjectName("default"), 0, hashlib.sha256(b"").hexdigest(), "")
    left = tmp_path / "pushed" / "tmpleft"
    clear_leftovers(tmp_path)
    with PushedFiles(uploads, tmp_path).as_file(upload.name) as (path, digest):
        assert digest == hashlib.sha256(b"").hexdigest()
        left.mkdir()
        clear_leftovers(tmp_path)
        assert left.exists()
        assert path.exists()
    clear_leftovers(tmp_path)
    assert not left.exists()
