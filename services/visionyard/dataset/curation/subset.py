"""Draws some images so that splits and classes keep their shares."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from visionyard.dataset.held import HeldImages

Key = TypeVar("Key", str, tuple[str, int])


def draw_subset(held: HeldImages, size: int, seed: int) -> list[int]:
    """Chooses which images go, by id.

    Each split keeps its share of ``size``, and in it each stratum of images with the same rarest class, rounded by largest remainder (Hare quota); which images of a stratum
    stay is drawn. The same content and seed give the same draw.

    Args:
        held: All images.
        size: How many stay; no more than there are.
        seed: Another seed, another draw.
    """
    counts: Counter[int] = Counter(label.class_id for image in held for label in image.labels)
    strata: dict[tuple[str, int], list[tuple[str, str, int]]] = defaultdict(list)
    for image in held:
        rarest = min((label.class_id for label in image.labels), key=lambda c: (counts[c], c), default=-1)
        strata[image.split, rarest].append((image.sha256, image.name, image.id))
    splits: Counter[str] = Counter()
    for (split, _), members in strata.items():
        splits[split] += len(members)
    generator = np.random.default_rng(seed % 2**64)
    gone: list[int] = []
    for split, number in sorted(_shared_out(splits, size).items()):
        of_split = {key: members for key, members in strata.items() if key[0] == split}
        quotas = _shared_out(Counter({key: len(members) for key, members in of_split.items()}), number)
        for key in sorted(of_split):
            members = sorted(of_split[key])
            order = generator.permutation(len(members))
            gone += [members[int(at)][2] for at in order[quotas[key] :]]
    return gone


def _shared_out(counts: Mapping[Key, int], size: int) -> dict[Key, int]:
    """``size`` in the shares of ``counts``, in whole numbers, by largest remainder; of equal remainders the first key's goes up."""
    total = sum(counts.values())
    shares = {key: count * size / total for key, count in counts.items()} if total else dict.fromkeys(counts, 0.0)
    quotas = {key: int(share) for key, share in shares.items()}
    for key in sorted(counts, key=lambda key: (quotas[key] - shares[key], key))[: size - sum(quotas.values())]:
        quotas[key] += 1
    return quotas
