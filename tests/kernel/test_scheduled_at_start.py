"""What an actor sends itself while it starts."""

import asyncio
from typing import Any

import msgspec
import pytest

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.system import ActorSystem


class Due(msgspec.Struct, frozen=True, tag="due"):
    number: int


class SlowStarter(Actor[Due]):
    """Schedules at once, and then takes some turns of the loop to start."""

    messages = Due
    got: Future[int] = Future()

    async def on_start(self) -> None:
        self.schedule(0.0, Due(number=7))
        for _ in range(20):
            await asyncio.sleep(0)

    def handle(self, message: Due) -> Any:
        self.got.settle(message.number)


@pytest.mark.asyncio
async def test_a_timer_that_fires_during_on_start_is_delivered_after_it() -> None:
    SlowStarter.got = Future()
    async with asyncio.timeout(20), ActorSystem("starting") as system:
        await system.spawn(SlowStarter).ready()
        assert await SlowStarter.got == 7
