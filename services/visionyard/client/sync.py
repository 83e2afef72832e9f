"""The synchronous face of the asyncio client: an event loop in a thread of its own, and methods that wait for it.

Nothing is written twice: ``get = Blocking(AsyncDatasets.get)`` has the arguments, types and documentation of the coroutine.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

P = ParamSpec("P")
T = TypeVar("T")
TargetT = TypeVar("TargetT")


class LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="visionyard-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Waits for a coroutine; Ctrl-C cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stops the loop and waits for its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class Facade(Generic[TargetT]):
    """What has blocking methods.

    Args:
        target: The asyncio object behind it.
        loop: Where its coroutines run.
    """

    def __init__(self, target: TargetT, loop: LoopThread) -> None:
        self._target = target
        self._loop = loop


class Blocking(Generic[P, T]):
    """A method that waits for a coroutine of the target.

    Args:
        method: The asyncio class's method.
    """

    def __init__(self, method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, facade: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, facade: Facade[Any], owner: type | None = None) -> Callable[P, T]: ...
    def __get__(self, facade: Facade[Any] | None, owner: type | None = None) -> Self | Callable[P, T]:
        if facade is None:
            return self

        @functools.wraps(self._method)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return facade._loop.run(self._method(facade._target, *args, **kwargs))  # noqa: SLF001 - the descriptor is part of the facade

        return call


class BlockingIterator(Generic[P, T]):
    """A method that iterates over an asynchronous iterator of the target.

    Args:
        method: The asyncio class's method.
    """

    def __init__(self, method: Callable[Concatenate[Any, P], AsyncIterator[T]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, facade: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, facade: Facade[Any], owner: type | None = None) -> Callable[P, Iterator[T]]: ...
    def __get__(self, facade: Facade[Any] | None, owner: type | None = None) -> Self | Callable[P, Iterator[T]]:
        if facade is None:
            return self

        @functools.wraps(self._method)
        def call(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            return _drain(self._method(facade._target, *args, **kwargs), facade._loop)  # noqa: SLF001 - the descriptor is part of the facade

        return call


def _drain(items: AsyncIterator[T], loop: LoopThread) -> Iterator[T]:
    async def step() -> tuple[bool, T | None]:
        try:
            return True, await anext(items)
        except StopAsyncIteration:
            return False, None

    async def close() -> None:
        close_iterator = getattr(items, "aclose", None)
        if close_iterator is not None:
            await close_iterator()

    try:
        while True:
            more, item = loop.run(step())
            if not more:
                return
            yield item  # type: ignore[misc] # None only goes with more=False, or is an item itself
    finally:
        loop.run(close())
