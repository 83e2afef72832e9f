"""What a project takes up in the bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from visionyard.dataset.storage.kinds import COLLECTED, Amount, Inventory, Kind
from visionyard.dataset.storage.marking import Marker
from visionyard.kit.objectstore.port import ObjectStore


@dataclass(frozen=True)
class Account:
    """What a project takes up.

    Attributes:
        inventory: The listing.
        unreferenced: What nothing refers to, by kind.
        dead_shard_bytes: What is dead in shards of which other images are alive.
    """

    inventory: Inventory
    unreferenced: dict[Kind, Amount]
    dead_shard_bytes: int


def account(store: ObjectStore, project: str) -> Account:
    """Lists a project and reads its manifests. Blocks.

    Raises:
        YardError: ARTIFACT_CORRUPT, a version's manifest is missing, so that nobody can tell what it refers to.
        StoreUnavailable: the store does not answer.
    """
    inventory, marker = Inventory(project), Marker(store, project)
    _exhaust(inventory.take(store))
    _exhaust(marker.look())
    referenced = marker.referenced
    unreferenced = {kind: Amount() for kind in COLLECTED}
    for kind in COLLECTED:
        for entry in inventory.of_kind(kind):
            if entry.key not in referenced:
                unreferenced[kind].add(entry.size)
    alive = (entry for entry in inventory.of_kind(Kind.SHARDS) if entry.key in referenced)
    return Account(inventory, unreferenced, sum(max(0, entry.size - marker.images.space(entry.key)) for entry in alive))


def _exhaust(steps: Iterator[object]) -> None:
    for _ in steps:
        pass
