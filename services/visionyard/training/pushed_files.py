"""Complete uploads as local files."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visionyard.kit.names import ResourceName
from visionyard.kit.transfer.uploads import UploadStore

_READ_BYTES = 1 << 20
_LOCK = ".lock"


def _folder(work_dir: Path) -> Path:
    return work_dir / "pushed"


def clear_leftovers(work_dir: Path) -> None:
    """Removes what a killed service left of fetched uploads, unless another one in the same folder is at work."""
    folder = _folder(work_dir)
    if not folder.is_dir():
        return
    with (folder / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for left in folder.glob("tmp*"):
            shutil.rmtree(left, ignore_errors=True)


class PushedFiles:
    """Fetches uploads into a private folder.

    Args:
        uploads: The uploads of all projects.
        work_dir: Where private folders are made; made where it is missing.
    """

    def __init__(self, uploads: UploadStore, work_dir: Path) -> None:
        self._uploads = uploads
        self._folder = _folder(work_dir)

    @contextmanager
    def as_file(self, name: ResourceName) -> Iterator[tuple[Path, str]]:
        """A complete upload as a local file with its sha256, removed when the block ends.

        Raises:
            YardError: UPLOAD_NOT_FOUND or UPLOAD_INCOMPLETE.
            StoreUnavailable: the store does not answer.
            OSError: the disk refused it.
        """
        with self._uploads.open(name) as source:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / _LOCK).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH)  # tells clear_leftovers that somebody is at work
                with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                    path, digest = Path(folder, "weights.pt"), hashlib.sha256()
                    with path.open("wb") as target:
                        while data := source.read(_READ_BYTES):
                            digest.update(data)
                            target.write(data)
                    yield path, digest.hexdigest()

    def delete(self, name: ResourceName) -> None:
        """Throws an upload away."""
        self._uploads.delete(name)
