"""Draws some images so that splits and classes keep their shares."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from visionyard.dataset.held import HeldImages


def draw_subset(held: HeldImages, size: int, seed: int) -> list[int]:
    """Chooses which images go, by id.

    Images are put into strata by split and rarest class; each stratum keeps its share of ``size``, rounded by largest remainder (Hare quota), its images drawn. The same
    content and seed give the same draw.

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
    total = sum(map(len, strata.values()))
    generator = np.random.default_rng(seed % 2**64)
    keys = sorted(strata)
    shares = {key: len(strata[key]) * size / total for key in keys}
    quota = {key: int(shares[key]) for key in keys}
    by_remainder = sorted(keys, key=lambda key: (quota[key] - shares[key], key))
    for key in by_remainder[: size - sum(quota.values())]:
        quota[key] += 1
    gone: list[int] = []
    for key in keys:
        members = sorted(strata[key])
        order = generator.permutation(len(members))
        gone += [members[int(at)][2] for at in order[quota[key] :]]
    return gone
