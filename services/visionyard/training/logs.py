"""A job's log as a stream: what is there, and what comes until the job has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from visionyard.kit.jobs import joblog
from visionyard.kit.jobs.service import JobService
from visionyard.kit.names import ResourceName

_POLL_S = 0.5
_LAST_WORDS_S = 2.0
_PIECE_BYTES = 1 << 20


async def follow_log(jobs: JobService, name: ResourceName, offset: int, *, follow: bool) -> AsyncIterator[tuple[int, bytes]]:
    """The log from ``offset`` on, as (offset, bytes) in pieces of at most 1 MiB that end with a line where they can.

    Args:
        jobs: The jobs.
        name: The job.
        offset: Where to begin, in bytes.
        follow: Whether to go on until the job has ended.

    Raises:
        YardError: JOB_NOT_FOUND.
        StoreUnavailable: the store does not answer.
    """
    last_round, reader = False, joblog.LogReader(jobs.records.store, name, offset)
    while True:
        job = await asyncio.to_thread(jobs.get, name)
        finished = job.state.finished
        chunks = reader.read(job.attempt)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            start, data = chunk
            for piece in _pieces(data):
                yield start, piece
                start += len(piece)
        if not follow or last_round:
            return
        # A worker ships the end of its log just after it has said how the job ended.
        last_round = finished
        await asyncio.sleep(_LAST_WORDS_S if finished else _POLL_S)


def _pieces(data: bytes) -> list[bytes]:
    pieces = []
    while len(data) > _PIECE_BYTES:
        cut = data.rfind(b"\n", 0, _PIECE_BYTES) + 1 or _PIECE_BYTES
        pieces.append(data[:cut])
        data = data[cut:]
    return [*pieces, data] if data else pieces
