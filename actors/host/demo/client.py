"""The sender: real HTTP requests to the running webhook server, signed as GitHub signs them."""

import asyncio
import http.client
import json
from collections.abc import Sequence
from typing import Final

import msgspec

from greenroom.actors.host.demo.payloads import Payload
from greenroom.actors.triggers.signatures import SIGNATURE_HEADER, sign

PATH: Final = "/webhooks/github"
_AT_ONCE: Final = 8
_TIMEOUT_S: Final = 10.0


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One request to send: `delivery_id` is GitHub's, `secret` the one it is signed with."""

    payload: Payload
    delivery_id: str
    secret: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; `execution_id` and `duplicate` with status 202 only."""

    status: int
    execution_id: str | None = None
    duplicate: bool = False


async def send(port: int, deliveries: Sequence[Delivery]) -> list[Answer]:
    """Post to the server on this machine, a few at once; the answers are in the order given.

    Raises OSError and http.client.HTTPException when the server does not answer.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(delivery: Delivery) -> Answer:
        async with gate:
            return await asyncio.to_thread(_post, port, delivery)

    return list(await asyncio.gather(*(one(delivery) for delivery in deliveries)))


def _post(port: int, delivery: Delivery) -> Answer:
    body = delivery.payload.body
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request(
            "POST",
            PATH,
            body,
            {
                "Content-Type": "application/json",
                "X-GitHub-Event": delivery.payload.event,
                "X-GitHub-Delivery": delivery.delivery_id,
                SIGNATURE_HEADER: sign(delivery.secret, body),
            },
        )
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != 202:
        return Answer(status=response.status)
    told = json.loads(content)
    return Answer(status=202, execution_id=told["execution_id"], duplicate=told["duplicate"])
