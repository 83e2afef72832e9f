"""Draws train, val and test with a seed, so that every class is spread over them in the asked shares.

First iterative stratification (Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label Data, ECML PKDD 2011) over counts of boxes instead of presence:
images of the rarest class go first, each to the split that lacks it most. Then single images are moved or exchanged as long as that brings the classes closer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visionyard.kit.errors import Reason, YardError

STRATIFIED_FROM = 30
"""A class with fewer boxes is spread as well as may be, without a promise."""
TOLERANCE = 0.03
"""How far a class's share in a split may be from the asked one."""
_AIM = 0.015
_ROUNDS = 400
_CANDIDATES = 200


def draw(counts: NDArray[np.int64], ratios: Sequence[float], seed: int, names: Sequence[str]) -> NDArray[np.int64]:
    """Draws a split for every group of images.

    Args:
        counts: INT64 [groups, classes + 1]: boxes a class in each group (alike images, which stay together), and in the last column its images. The same
            groups in the same order give the same draw, so order them by content.
        ratios: The share of each split; together 1. A split of share 0 gets nothing.
        seed: Another seed, another draw.
        names: The splits' names, for messages.

    Returns:
        INT64 [groups], the index of each group's split.

    Raises:
        YardError: SPLIT_EMPTY, there are fewer groups than splits.
    """
    wanted = np.flatnonzero(np.asarray(ratios) > 0)
    if len(counts) < len(wanted):
        name = names[int(wanted[len(counts)])]
        raise YardError(
            Reason.SPLIT_EMPTY,
            f"{len(counts)} different images cannot be split into {len(wanted)} parts, {name} would be empty: add images or ask for fewer splits",
            {"split": name},
        )
    shares = np.asarray(ratios, dtype=np.float64)[wanted]
    shares /= shares.sum()
    generator = np.random.default_rng(seed % 2**64)
    order = generator.permutation(len(counts))
    assigned = np.empty(len(counts), dtype=np.int64)
    assigned[order] = _refine(counts[order], shares, _greedy(counts[order], shares), generator)
    return wanted[assigned]


def _greedy(counts: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Sechidis et al., algorithm 1, with boxes as the examples of a class."""
    assigned = np.full(len(counts), -1, dtype=np.int64)
    totals = counts.sum(axis=0)
    lacking = np.outer(shares, totals).astype(np.float64)  # [splits, classes + 1]
    left = totals.copy()
    while (assigned < 0).any():
        rarest = _rarest(left)
        open_ = np.flatnonzero((assigned < 0) & (counts[:, rarest] > 0))
        for group in open_[np.argsort(-counts[open_, rarest], kind="stable")]:
            # The split that lacks most of this class, then the one that lacks most images.
            split = int(np.lexsort((-lacking[:, -1] / shares, -lacking[:, rarest] / shares))[0])
            assigned[group] = split
            lacking[split] -= counts[group]
            left -= counts[group]
    return assigned


def _rarest(left: NDArray[np.int64]) -> int:
    """The class with the fewest boxes still to be placed; the images' own column when no box is left."""
    boxes = left[:-1]
    if not (boxes > 0).any():
        return len(left) - 1
    return int(np.where(boxes > 0, boxes, np.iinfo(np.int64).max).argmin())


class _State:
    """How far each class is from its share in each split, and what a move or an exchange would change."""

    def __init__(self, counts: NDArray[np.int64], shares: NDArray[np.float64], assigned: NDArray[np.int64]) -> None:
        totals = counts.sum(axis=0)
        # Images count as one more class; classes without a promise weigh little beside those with one.
        self.columns = np.flatnonzero(totals > 0)
        self.promised = (totals[self.columns] >= STRATIFIED_FROM) | (self.columns == counts.shape[1] - 1)
        self.weights = np.where(self.promised, 1.0, 0.002)
        self.parts = counts[:, self.columns] / totals[self.columns]  # [groups, columns], each a share of its class
        self.assigned = assigned
        self.splits = len(shares)
        self.off = np.stack([self.parts[assigned == s].sum(axis=0) - shares[s] for s in range(self.splits)])
        self.sizes = np.bincount(assigned, minlength=self.splits)

    def cost(self, off: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of deviations FLOAT64 [..., columns]: what lies beyond the aim counts a hundredfold."""
        beyond = np.where(self.promised, np.maximum(np.abs(off) - _AIM, 0.0), 0.0)
        result: NDArray[np.float64] = (self.weights * off**2 + 100.0 * beyond**2).sum(axis=-1)
        return result

    def satisfied(self) -> bool:
        """Whether every class with a promise, and the images, are within the aim."""
        return bool((np.abs(self.off[:, self.promised]) <= _AIM).all())

    def move(self, group: int, to: int) -> None:
        """Puts a group into another split."""
        source = self.assigned[group]
        self.off[source] -= self.parts[group]
        self.off[to] += self.parts[group]
        self.sizes[source] -= 1
        self.sizes[to] += 1
        self.assigned[group] = to


def _refine(
    counts: NDArray[np.int64], shares: NDArray[np.float64], assigned: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    state = _State(counts, shares, assigned)
    for empty in np.flatnonzero(state.sizes == 0):
        state.move(int(np.flatnonzero(state.assigned == state.sizes.argmax())[0]), int(empty))
    for _ in range(_ROUNDS):
        if state.satisfied() or not _improve(state, generator):
            break
    return state.assigned


def _improve(state: _State, generator: np.random.Generator) -> bool:
    """Makes the best move or exchange among a sample of groups between some two splits; False where none helps."""
    best: tuple[float, tuple[tuple[int, int], ...]] = (-1e-12, ())
    for one in range(state.splits):
        for other in range(one + 1, state.splits):
            here, there = (_sample(np.flatnonzero(state.assigned == split), generator) for split in (one, other))
            before = state.cost(state.off[one]) + state.cost(state.off[other])
            nothing = np.zeros((1, state.parts.shape[1]))
            gives = np.concatenate([nothing, state.parts[here]])
            takes = np.concatenate([nothing, state.parts[there]])
            for i, given in enumerate(gives):
                change = takes - given
                gain = state.cost(state.off[one] + change) + state.cost(state.off[other] - change) - before
                if state.sizes[one] <= 1 and i:
                    gain[0] = np.inf  # would leave a split empty
                if state.sizes[other] <= 1 and not i:
                    gain[1:] = np.inf
                j = int(gain.argmin())
                if gain[j] < best[0]:
                    moves = ([(int(here[i - 1]), other)] if i else []) + ([(int(there[j - 1]), one)] if j else [])
                    best = float(gain[j]), tuple(moves)
    for group, to in best[1]:
        state.move(group, to)
    return bool(best[1])


def _sample(groups: NDArray[np.intp], generator: np.random.Generator) -> NDArray[np.intp]:
    if len(groups) <= _CANDIDATES:
        return groups
    return generator.choice(groups, _CANDIDATES, replace=False)


def farthest(counts: NDArray[np.int64], assigned: NDArray[np.int64], ratios: Sequence[float]) -> tuple[int, float]:
    """The class with a promise whose share is farthest from the asked one, and how far; (-1, 0.0) where there is none."""
    totals = counts[:, :-1].sum(axis=0)
    promised = np.flatnonzero(totals >= STRATIFIED_FROM)
    if not len(promised):
        return -1, 0.0
    off = np.stack([counts[assigned == s][:, promised].sum(axis=0) / totals[promised] - ratio for s, ratio in enumerate(ratios)])
    worst = np.abs(off).max(axis=0)
    return int(promised[worst.argmax()]), float(worst.max())
