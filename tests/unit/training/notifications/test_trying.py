"""``yard notify test``: a receiver that takes its time holds up nobody else."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.training.notification_servicer import NotificationServicer
from visionyard.training.notifications.answers import Outcome
from visionyard.training.turns import Turns
from visionyard.training.v1 import notification_service_pb2 as messages


async def test_slow_receivers_leave_the_services_threads_to_others_and_more_are_refused(bench) -> None:
    name = str(bench.channel().name)
    let_go = threading.Event()

    def tarpit(*_: object) -> Outcome:
        let_go.wait(60)
        return Outcome(delivered=True, http_status=200)

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(4))
    with ThreadPoolExecutor(2) as own:
        servicer = NotificationServicer(bench.channels, tarpit, Turns(own, 2, 0.2, "busy"))
        request = messages.TestNotificationChannelRequest(name=name)
        tests = [asyncio.create_task(servicer.TestNotificationChannel(request, None)) for _ in range(8)]
        refused = list((await asyncio.wait(tests, timeout=30, return_when=asyncio.FIRST_EXCEPTION))[0])
        await asyncio.to_thread(lambda: None)  # a thread is free while two receivers are still silent
        with pytest.raises(YardError) as error:
            refused[0].result()
        assert error.value.reason is Reason.OVERLOADED
        let_go.set()
        ended = await asyncio.gather(*tests, return_exceptions=True)
    assert sum(not isinstance(answer, YardError) for answer in ended) == 2
