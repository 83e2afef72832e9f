"""Draws train, val and test with a seed, so that every class is spread over them in the asked shares.

First iterative stratification (Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label Data, ECML PKDD 2011) over counts of boxes instead of presence:
images of the rarest class go first, each to the split that lacks it most. Then single images are moved or exchanged as long as that brings the classes closer. In the end every
split gets just its number of images, by the moves that cost the classes least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from visionyard.dataset.group_counts import GroupCounts
from visionyard.kit.errors import Reason, YardError

STRATIFIED_FROM = 30
"""A class with fewer boxes is spread as well as may be, without a promise."""
TOLERANCE = 0.03
"""How far a class's share in a split may be from the asked one."""
_AIM = 0.015
_ROUNDS = 400
_CANDIDATES = 200
_WORK = 1_000_000_000
"""The most deviations that are looked at in order to come closer, about a minute; counted, not timed, so that a seed gives the same draw on any machine.
LVIS needs a fifth; only images of thousands of classes each get there."""
_GROUPS_A_CHECK = 1000
_BALANCING_ROUNDS = 200

Check = Callable[[], None]
"""Called often; raises where the work is to stop."""


def draw(counts: GroupCounts, ratios: Sequence[float], seed: int, names: Sequence[str], check: Check) -> NDArray[np.int64]:
    """Draws a split for every group of images.

    Args:
        counts: The boxes and images of each group (alike images, which stay together). The same groups in the same order give the same draw,
            so order them by content.
        ratios: The share of each split; together 1. A split of share 0 gets nothing.
        seed: Another seed, another draw.
        names: The splits' names, for messages.
        check: Hears whether to stop.

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
    shuffled = counts.take(order)
    assigned[order] = _refine(shuffled, shares, _greedy(shuffled, shares, check), generator, check)
    return wanted[assigned]


def _greedy(counts: GroupCounts, shares: NDArray[np.float64], check: Check) -> NDArray[np.int64]:
    """Sechidis et al., algorithm 1, with boxes as the examples of a class."""
    assigned = np.full(len(counts), -1, dtype=np.int64)
    left = counts.totals()
    lacking = np.outer(shares, left).astype(np.float64)  # [splits, classes + 1]
    starts, groups, numbers = counts.by_column()
    placed = 0
    while placed < len(counts):
        rarest = _rarest(left)
        column = slice(starts[rarest], starts[rarest + 1])
        open_ = assigned[groups[column]] < 0
        for group in groups[column][open_][np.argsort(-numbers[column][open_], kind="stable")]:
            if placed % _GROUPS_A_CHECK == 0:
                check()
            # The split that lacks most of this class, then the one that lacks most images.
            split = int(np.lexsort((-lacking[:, -1] / shares, -lacking[:, rarest] / shares))[0])
            assigned[group] = split
            entries = counts.entries(group)
            lacking[split, counts.columns[entries]] -= counts.numbers[entries]
            left[counts.columns[entries]] -= counts.numbers[entries]
            placed += 1
    return assigned


def _rarest(left: NDArray[np.int64]) -> int:
    """The class with the fewest boxes still to be placed; the images' own column when no box is left."""
    boxes = left[:-1]
    if not (boxes > 0).any():
        return len(left) - 1
    return int(np.where(boxes > 0, boxes, np.iinfo(np.int64).max).argmin())


class _State:
    """How far each class is from its share in each split, and what a move or an exchange would change."""

    def __init__(self, counts: GroupCounts, shares: NDArray[np.float64], assigned: NDArray[np.int64]) -> None:
        totals = counts.totals()
        # Images count as one more class; classes without a promise weigh little beside those with one.
        self.promised = totals >= STRATIFIED_FROM
        self.promised[-1] = True
        self.weights = np.where(self.promised, 1.0, 0.002)
        self.counts = counts
        self.parts = counts.numbers / totals[counts.columns]  # [entries], each a share of its class
        self.assigned = assigned
        self.splits = len(shares)
        split = assigned[counts.group_of_entries()]
        held = [np.bincount(counts.columns[split == s], self.parts[split == s], len(totals)) for s in range(self.splits)]
        self.off = np.stack([held[s] - shares[s] for s in range(self.splits)])  # [splits, classes + 1]
        self.sizes = np.bincount(assigned, minlength=self.splits)
        self.work = 0

    def cost(self, off: NDArray[np.float64], columns: NDArray[np.int64] | slice) -> NDArray[np.float64]:
        """Of deviations FLOAT64 [..., columns], each by itself: what lies beyond the aim counts a hundredfold."""
        self.work += off.size
        beyond = np.where(self.promised[columns], np.maximum(np.abs(off) - _AIM, 0.0), 0.0)
        result: NDArray[np.float64] = self.weights[columns] * off**2 + 100.0 * beyond**2
        return result

    def dense(self, groups: NDArray[np.int64]) -> NDArray[np.float64]:
        """FLOAT64 [1 + groups, classes + 1]: nothing, then the parts of each of these few groups."""
        sample = self.counts.take(groups)
        rows = np.zeros((1 + len(groups), self.counts.classes + 1))
        entries = [self.parts[self.counts.entries(int(group))] for group in groups]
        rows[1 + sample.group_of_entries(), sample.columns] = np.concatenate([np.empty(0), *entries])
        return rows

    def satisfied(self) -> bool:
        """Whether every class with a promise, and the images, are within the aim."""
        return bool((np.abs(self.off[:, self.promised]) <= _AIM).all())

    def move(self, group: int, to: int) -> None:
        """Puts a group into another split."""
        source, entries = self.assigned[group], self.counts.entries(group)
        columns = self.counts.columns[entries]
        self.off[source, columns] -= self.parts[entries]
        self.off[to, columns] += self.parts[entries]
        self.sizes[source] -= 1
        self.sizes[to] += 1
        self.assigned[group] = to


def _refine(
    counts: GroupCounts, shares: NDArray[np.float64], assigned: NDArray[np.int64], generator: np.random.Generator, check: Check
) -> NDArray[np.int64]:
    state = _State(counts, shares, assigned)
    for empty in np.flatnonzero(state.sizes == 0):
        state.move(int(np.flatnonzero(state.assigned == state.sizes.argmax())[0]), int(empty))
    for _ in range(_ROUNDS):
        if state.satisfied() or state.work > _WORK or not _improve(state, generator, check):
            break
    _balance(state, shares, check)
    return state.assigned


def _balance(state: _State, shares: NDArray[np.float64], check: Check) -> None:
    """Gives every split just its number of images (rounded by largest remainder), as far as groups of several images allow: those whose move costs the classes least."""
    images = np.zeros(len(state.counts), dtype=np.int64)
    of_images = state.counts.columns == state.counts.classes
    images[state.counts.group_of_entries()[of_images]] = state.counts.numbers[of_images]
    wanted = _quotas(int(images.sum()), shares)
    for _ in range(_BALANCING_ROUNDS):
        check()
        over = np.bincount(state.assigned, images, state.splits).astype(np.int64) - wanted
        source, target = int(over.argmax()), int(over.argmin())
        surplus = int(min(over[source], -over[target]))
        if surplus <= 0:
            return
        movable = np.flatnonzero((state.assigned == source) & (images <= surplus))
        if not len(movable) or state.sizes[source] <= 1:
            return
        # Half of them at a time, as each move changes what the next one costs.
        order = movable[np.argsort(_move_costs(state, movable, source, target), kind="stable")]
        share = max(1, surplus // 2)
        chosen = order[np.cumsum(images[order]) <= max(share, int(images[order[0]]))]
        for group in chosen[: int(state.sizes[source]) - 1]:
            state.move(int(group), target)


def _quotas(total: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many images each split is to have: together all of them."""
    exact = shares * total
    quotas = np.floor(exact + 1e-9).astype(np.int64)
    for split in np.argsort(quotas - exact, kind="stable")[: total - int(quotas.sum())]:
        quotas[split] += 1
    return np.maximum(quotas, 1)


def _move_costs(state: _State, groups: NDArray[np.int64], source: int, target: int) -> NDArray[np.float64]:
    """FLOAT64 [groups]: what the classes' cost changes by where each of these groups alone goes from one split to the other."""
    sample = state.counts.take(groups)
    parts = np.concatenate([np.empty(0), *(state.parts[state.counts.entries(int(group))] for group in groups)])
    columns = sample.columns
    give, take = state.off[source, columns], state.off[target, columns]
    change = state.cost(give - parts, columns) - state.cost(give, columns) + state.cost(take + parts, columns) - state.cost(take, columns)
    change[columns == state.counts.classes] = 0.0
    return np.bincount(sample.group_of_entries(), change, len(groups)).astype(np.float64)


def _improve(state: _State, generator: np.random.Generator, check: Check) -> bool:
    """Makes the best move or exchange among a sample of groups between some two splits; False where none helps."""
    best: tuple[float, tuple[tuple[int, int], ...]] = (-1e-12, ())
    for one in range(state.splits):
        for other in range(one + 1, state.splits):
            here, there = (_sample(np.flatnonzero(state.assigned == split), generator) for split in (one, other))
            for i, gain in enumerate(_gains(state, (one, other), here, there, check)):
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


def _gains(
    state: _State, splits: tuple[int, int], here: NDArray[np.int64], there: NDArray[np.int64], check: Check
) -> Iterator[NDArray[np.float64]]:
    """What the cost changes by for nothing, then each group ``here``, given away: FLOAT64 [1 + there], for nothing or a group ``there`` taken for it."""
    one, other = (state.off[split] for split in splits)

    def cost(change: NDArray[np.float64], columns: NDArray[np.int64] | slice) -> NDArray[np.float64]:
        return state.cost(one[columns] + change, columns) + state.cost(other[columns] - change, columns)

    whole = slice(None)
    takes = state.dense(there)
    taken = cost(takes, whole)
    alone = (taken - taken[0]).sum(axis=-1)  # where nothing is given
    yield alone.copy()
    for group in here:
        check()
        entries = state.counts.entries(int(group))
        columns = state.counts.columns[entries]  # giving changes nothing in others
        yield alone + (cost(takes[:, columns] - state.parts[entries], columns) - taken[:, columns]).sum(axis=-1)


def _sample(groups: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    if len(groups) <= _CANDIDATES:
        return groups
    return generator.choice(groups, _CANDIDATES, replace=False)


def farthest(counts: GroupCounts, assigned: NDArray[np.int64], ratios: Sequence[float]) -> tuple[int, float]:
    """The class with a promise whose share is farthest from the asked one, and how far; (-1, 0.0) where there is none."""
    totals = counts.totals()
    promised = np.flatnonzero(totals[:-1] >= STRATIFIED_FROM)
    if not len(promised):
        return -1, 0.0
    split = assigned[counts.group_of_entries()]
    held = [np.bincount(counts.columns[split == s], counts.numbers[split == s], len(totals)) for s in range(len(ratios))]
    off = np.stack([held[s][promised] / totals[promised] - ratio for s, ratio in enumerate(ratios)])
    worst = np.abs(off).max(axis=0)
    return int(promised[worst.argmax()]), float(worst.max())
