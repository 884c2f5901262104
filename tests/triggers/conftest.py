"""A webhook server on a real socket, in the test's own loop, with a sink that keeps what it got."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest_asyncio

from greenroom.actors.triggers.delivery import WebhookDelivery, WebhookReceipt
from greenroom.actors.triggers.http_server import HttpServer, bind
from greenroom.actors.triggers.webhook_app import build_webhook_app
from greenroom.protocol.config import WebhookRoute


@dataclass
class Desk:
    """A sink: keeps deliveries, gives numbered receipts, or raises what it was told to raise."""

    deliveries: list[WebhookDelivery] = field(default_factory=list)
    refusal: Exception | None = None
    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self, delivery: WebhookDelivery) -> WebhookReceipt:
        if self.refusal is not None:
            raise self.refusal
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        known = [one.delivery_id for one in self.deliveries]
        if delivery.delivery_id is not None and delivery.delivery_id in known:
            first = known.index(delivery.delivery_id) + 1
            return WebhookReceipt(execution_id=f"run-{first}", duplicate=True)
        self.deliveries.append(delivery)
        return WebhookReceipt(execution_id=f"run-{len(self.deliveries)}")


@dataclass
class Served:
    """A running server, its sink, and a client of it."""

    desk: Desk
    client: httpx2.AsyncClient
    server: HttpServer
    port: int


Serve = Callable[..., Any]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(route, ..., body_bytes_max=..., body_timeout_s=...)` gives a `Served`."""
    running: list[Served] = []

    async def start(
        *routes: WebhookRoute, body_bytes_max: int = 10_000, body_timeout_s: float = 20.0
    ) -> Served:
        desk = Desk()
        app = build_webhook_app(routes, desk, body_bytes_max, body_timeout_s)
        bound = bind("127.0.0.1", 0)
        port = bound.getsockname()[1]
        server = HttpServer(app, bound)
        await server.start(lambda failure: None)
        client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        running.append(Served(desk, client, server, port))
        return running[-1]

    yield start
    for one in running:
        await one.client.aclose()
        await one.server.stop(5.0)
