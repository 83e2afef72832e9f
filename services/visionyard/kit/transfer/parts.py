"""The parts of an upload: objects of up to 8 MiB, named by the offset of their first byte, created once and never changed.

Two writers of one upload may cut it differently, because each begins where it found the upload and stores a shorter part when its stream breaks. So parts
may overlap; as all of them are cut from the same file, it does not matter which is read. Bytes count as stored up to the first gap.
"""

from __future__ import annotations

import bisect
import io
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.objectstore.port import Conflict, Listing, NotFound, ObjectStore, OutcomeUnknown, StoreUnavailable

PART_BYTES = 8 * 1024 * 1024
"""The size of a full part."""
_CACHED_PARTS = 3
_ATTEMPTS = 5


@dataclass(frozen=True)
class Part:
    """Bytes on their way into the store.

    Attributes:
        offset: Where they begin in the file.
        data: Up to 8 MiB.
    """

    offset: int
    data: bytes


@dataclass(frozen=True)
class StoredPart:
    """A part in the store.

    Attributes:
        key: Its object.
        offset: Where it begins in the file.
        size: How many bytes it holds.
    """

    key: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Where the byte after its last one lies in the file."""
        return self.offset + self.size


def part_key(prefix: str, offset: int) -> str:
    """The key of the part at ``offset``; 16 digits, so that parts are listed in the order of the file."""
    return f"{prefix}{offset:016d}"


def contiguous(prefix: str, entries: Iterable[Listing]) -> list[StoredPart]:
    """The parts that cover the file from its beginning to the first gap, in order.

    Args:
        prefix: The prefix of the parts' keys.
        entries: Their listing, in order.
    """
    covering: list[StoredPart] = []
    end = 0
    for entry in entries:
        part = StoredPart(entry.key, int(entry.key[len(prefix) :]), entry.size)
        if part.offset > end:
            break
        if part.end > end:
            covering.append(part)
            end = part.end
    return covering


def store_part(store: ObjectStore, prefix: str, part: Part) -> bool:
    """Stores a part. Where another writer has stored a shorter one at its offset, the rest goes behind that one. Blocks.

    Returns:
        Whether exactly these bytes were written now; False where there was a part already, whose bytes nobody has compared.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    offset, data = part.offset, part.data
    lost = 0
    alone = True
    while data:
        key = part_key(prefix, offset)
        try:
            store.create(key, data)
        except Conflict:
            held = store.head(key).size
            # An empty object was not written here; going on behind it would never end.
            if not held:
                raise StoreUnavailable(f"{key} is empty, though nothing writes empty parts") from None
            offset, data = offset + held, data[held:]
            alone = False
        except OutcomeUnknown as error:
            # If it was written after all, the next attempt finds it, whole.
            lost += 1
            if lost == _ATTEMPTS:
                raise StoreUnavailable(f"storing {key} got no answer {lost} times: {error}") from error
        else:
            break
    return alone


class PartsReader(io.RawIOBase):
    """The file that the parts make, for reading at any place. Holds at most three parts (24 MiB) in memory.

    Args:
        store: The bucket.
        parts: From :func:`contiguous`; they must cover the file.
        size: The file's size, in bytes.
    """

    def __init__(self, store: ObjectStore, parts: list[StoredPart], size: int) -> None:
        super().__init__()
        self._store = store
        self._parts = parts
        self._offsets = [part.offset for part in parts]
        self._size = size
        self._position = 0
        self._cache: OrderedDict[str, bytes] = OrderedDict()

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place; it may lie behind the end, where there is nothing to read.

        Raises:
            ValueError: it lies before the beginning.
        """
        position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence] + offset
        if position < 0:
            raise ValueError(f"cannot seek to {position}")
        self._position = position
        return position

    def tell(self) -> int:
        """The place of the next byte."""
        return self._position

    def readinto(self, buffer: object) -> int:
        """Reads some bytes; 0 at the end.

        Raises:
            YardError: UPLOAD_NOT_FOUND, the upload was deleted meanwhile.
            StoreUnavailable: the store does not answer.
        """
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type] # typeshed's Buffer is not in collections.abc before 3.12
        if self._position >= self._size or not len(view):
            return 0
        part = self._parts[bisect.bisect_right(self._offsets, self._position) - 1]
        begin = self._position - part.offset
        data = memoryview(self._bytes_of(part))[begin : begin + len(view)]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _bytes_of(self, part: StoredPart) -> bytes:
        data = self._cache.get(part.key)
        if data is None:
            while len(self._cache) >= _CACHED_PARTS:
                self._cache.popitem(last=False)
            try:
                data = self._store.get(part.key).data
            except NotFound:
                name = part.key.partition("/parts/")[0]
                raise YardError(Reason.UPLOAD_NOT_FOUND, f"{name} was deleted while it was read", {"name": name}) from None
            self._cache[part.key] = data
        self._cache.move_to_end(part.key)
        return data
