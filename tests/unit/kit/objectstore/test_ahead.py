"""Reads ahead: in order, a few at once, and an error in its place."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from visionyard.kit.objectstore.ahead import read_ahead


def test_answers_come_in_order_whoever_is_ready_first() -> None:
    second = threading.Event()

    def read(number: int) -> int:
        if number == 0:
            assert second.wait(20), "they are read one after the other"
        if number == 1:
            second.set()
        return number * 10

    assert list(read_ahead(read, range(20), at_once=4)) == [number * 10 for number in range(20)]


def test_no_more_is_read_than_that_many_ahead() -> None:
    asked: list[int] = []

    def wanted() -> Iterator[int]:
        for number in range(100):
            asked.append(number)
            yield number

    answers = read_ahead(lambda number: number, wanted(), at_once=3)
    assert next(answers) == 0
    assert len(asked) == 3
    answers.close()  # type: ignore[attr-defined]


def test_an_error_comes_where_its_answer_would_have() -> None:
    answers = read_ahead(lambda number: 10 // number, [2, 1, 0, 5], at_once=4)
    assert [next(answers), next(answers)] == [5, 10]
    with pytest.raises(ZeroDivisionError):
        next(answers)


def test_nothing_wanted() -> None:
    assert list(read_ahead(lambda number: number, [])) == []
