"""Long lists of versions from their end."""

from __future__ import annotations

import itertools

import pytest

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.version_numbers import newest_numbers
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore

PARENT = ResourceName("p", "models", "m")


class CountingStore(MemoryObjectStore):
    """Counts what a listing hands out, and which objects are read."""

    listed = 0

    def __init__(self):
        super().__init__()
        self.read = []

    def get(self, key, *arguments, **words):
        self.read.append(key)
        return super().get(key, *arguments, **words)

    def list(self, *arguments, **words):
        for entry in super().list(*arguments, **words):
            self.listed += 1
            yield entry


def filled(count, gone=()):
    store = CountingStore()
    for number in range(1, count + 1):
        if number not in gone:
            store.put(f"{PARENT}/versions/{number:08d}.json", b'{"body": {}, "made_by": "x"}')
        if number % 7 == 0:
            store.put(f"{PARENT}/versions/{number:08d}/artifacts/a.json", b"x")
    return store


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 47, 48, 49, 500])
def test_all_numbers_come_highest_first(count):
    store = filled(count)
    assert list(newest_numbers(store, PARENT)) == list(range(count, 0, -1))
    assert [document.name.number for document in versions.list_versions(store, PARENT)] == list(range(count, 0, -1))
    for before in (1, 2, count, count + 1):
        assert list(newest_numbers(store, PARENT, before)) == list(range(before - 1, 0, -1))


@pytest.mark.parametrize("gone", [{1}, {16}, {17}, {48}, {3, 16, 17, 18, 40}, set(range(1, 60))])
def test_documents_that_were_taken_out_by_hand_hide_none(gone):
    expected = [number for number in range(60, 0, -1) if number not in gone]
    assert [document.name.number for document in versions.list_versions(filled(60, gone), PARENT)] == expected


@pytest.mark.parametrize("gone", [(), (4999, 4970)])
def test_a_page_of_a_long_list_costs_a_page(gone):
    store = filled(5000, gone)
    page = list(versions.list_versions(store, PARENT, at_most=51))
    assert [document.name.number for document in page] == [number for number in range(5000, 0, -1) if number not in gone][:51]
    assert store.listed < 100
    assert len(store.read) == 51 + len(gone)


def test_a_list_that_is_left_early_reads_only_a_few_ahead():
    store = filled(500)
    assert len(list(itertools.islice(versions.list_versions(store, PARENT), 10))) == 10
    assert len(store.read) <= 10 + 8
