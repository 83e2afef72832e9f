import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from visionyard.kit.server.steps import Steps

WHO = contextvars.ContextVar("WHO", default="nobody")


class Source:
    """A generator that holds something, and at whose third step somebody must open a gate."""

    def __init__(self):
        self.gate = threading.Event()
        self.closed = threading.Event()
        self.inside = threading.Event()

    def steps(self):
        try:
            yield "first"
            yield "second"
            self.inside.set()
            self.gate.wait(10)
            yield "third"
        finally:
            self.closed.set()


@pytest.fixture
def source():
    made = Source()
    yield made
    made.gate.set()


async def every(steps):
    with Steps(steps) as taken:
        return [item async for item in taken]


async def test_all_of_them_in_order(source):
    source.gate.set()
    assert await every(source.steps()) == ["first", "second", "third"]
    assert source.closed.is_set()


async def test_none():
    assert await every(item for item in ()) == []


async def test_an_error_comes_where_its_item_would_have():
    def steps():
        yield 1
        raise KeyError("gone")

    with Steps(steps()) as taken:
        assert await anext(taken) == 1
        with pytest.raises(KeyError, match="gone"):
            await anext(taken)


async def test_the_next_step_is_taken_meanwhile(source):
    with Steps(source.steps()) as taken:
        assert [await anext(taken), await anext(taken)] == ["first", "second"]
        assert await asyncio.to_thread(source.inside.wait, 5)
        source.gate.set()


async def test_a_step_knows_the_context_of_the_call():
    def steps():
        yield WHO.get()

    WHO.set("me")
    assert await every(steps()) == ["me"]


async def test_what_was_left_is_closed_behind_its_step(source):
    with Steps(source.steps()) as taken:
        async for _ in taken:
            if await asyncio.to_thread(source.inside.wait, 0.2):
                break
    assert not source.closed.is_set()
    source.gate.set()
    assert await asyncio.to_thread(source.closed.wait, 5)


async def test_an_error_that_nobody_came_for_is_no_news(caplog):
    raised = threading.Event()

    def steps():
        yield 1
        raised.set()
        raise KeyError

    with Steps(steps()) as taken:
        assert await anext(taken) == 1
        assert await asyncio.to_thread(raised.wait, 5)
        await asyncio.sleep(0.05)
    del taken
    assert not caplog.records


def test_it_is_closed_though_the_call_is_cancelled_twice_and_its_loop_ends(source):
    kept = []

    async def call():
        with Steps(source.steps()) as taken:
            try:
                async for _ in taken:
                    pass
            except asyncio.CancelledError as error:
                kept.append(error)  # with its traceback, by which all frames live on
                raise

    async def main():
        task = asyncio.create_task(call())
        assert await asyncio.to_thread(source.inside.wait, 5)
        task.cancel()
        asyncio.get_running_loop().call_soon(task.cancel)
        asyncio.get_running_loop().call_later(0.1, source.gate.set)
        await asyncio.wait({task})

    asyncio.run(main())
    assert kept
    assert source.closed.is_set()


async def test_streams_that_were_left_hold_no_more_threads_than_before(source):
    """Each its step's, and no other that waits for it: the pool is everybody's."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(2))
    with Steps(source.steps()) as taken:
        assert [await anext(taken), await anext(taken)] == ["first", "second"]
        assert await asyncio.to_thread(source.inside.wait, 5)
    assert await asyncio.wait_for(asyncio.to_thread(int), 5) == 0
    assert not source.closed.is_set()
    source.gate.set()
    assert await asyncio.to_thread(source.closed.wait, 5)


async def test_a_generator_that_cannot_be_closed_is_told_of(caplog):
    def steps():
        try:
            yield 1
            yield 2
        finally:
            raise KeyError("lease")

    with Steps(steps()) as taken:
        assert await anext(taken) == 1
    for _ in range(100):
        if caplog.records:
            break
        await asyncio.sleep(0.05)
    assert "could not be closed" in caplog.text
    assert "lease" in caplog.text


def test_it_is_closed_where_its_loop_has_ended_before(source):
    async def begin():
        steps = Steps(source.steps())
        steps.__enter__()
        assert await anext(steps) == "first"
        return steps

    asyncio.run(begin()).__exit__(None, None, None)
    assert source.closed.is_set()
