"""Which projects there are: those whose keys the bucket holds."""

from __future__ import annotations

from visionyard.kit.objectstore.port import ObjectStore


def project_ids(store: ObjectStore) -> list[str]:
    """The ids of all projects that hold anything, in order. Blocks.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    return [entry.key.split("/")[1] for entry in store.list("projects/", delimiter="/") if entry.is_prefix]
