"""Where a room hears what becomes of its jobs, so that it can tell others."""

from __future__ import annotations

from typing import Protocol

from visionyard.kit.jobs.model import Job


class JobEvents(Protocol):
    """Hears of every change of a job's document from whoever makes it: service, dispatcher or worker."""

    def changing(self, before: Job | None, after: Job) -> None:
        """Called right before a document is written, in any thread, so that no crash can come between a change and its telling. Blocks.

        The write may still fail, or somebody else be faster: what is put down here has to be held against the job's document before it is believed.

        Args:
            before: The job as it is; None where it is about to be created.
            after: The job as it is about to be.

        Raises:
            StoreUnavailable: the store stayed away; then the change is not made either.
        """
        ...
