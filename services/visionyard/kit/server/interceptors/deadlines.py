"""Every call ends in time to say so, after boulder's habit: a slice of the deadline is kept back for the answer's way home.

Work that cannot finish within what is left is refused at once instead of being begun. A unary call without a deadline gets one; a stream does not, since a watch or
a large upload may rightly take hours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.server.interceptors.chain import Call, Layer, Tap

RETURN_RESERVE_S = 0.02
"""Kept back so that the error reaches the client before its own clock runs out."""
LEAST_WORK_S = 0.01
"""Less time than this is no use to any method here."""


class Deadlines(Layer):
    """The deadlines' layer.

    Args:
        unary_default_s: The deadline of unary calls that came without one, in seconds.
    """

    def __init__(self, unary_default_s: float) -> None:
        self._unary_default_s = unary_default_s

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[Tap]:
        """See Layer.

        Raises:
            YardError: DEADLINE_EXCEEDED.
        """
        budget = self._budget(call)
        if budget is not None and budget < LEAST_WORK_S:
            raise YardError(Reason.DEADLINE_EXCEEDED, "the deadline leaves no time to do the work: give the call more")
        try:
            async with asyncio.timeout(budget) as clock:
                yield Tap()
        except TimeoutError as error:
            if not clock.expired():
                raise
            raise YardError(
                Reason.DEADLINE_EXCEEDED, f"{call.method.name} did not finish in time: give the call a longer deadline, or try again later"
            ) from error

    def _budget(self, call: Call) -> float | None:
        remaining = call.time_remaining_s()
        if remaining is not None:
            return remaining - RETURN_RESERVE_S
        return None if call.method.streaming else self._unary_default_s
