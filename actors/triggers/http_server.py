"""Uvicorn, run as one task of the loop it is started on: no signal handlers, no logging set-up.

This module needs the extra `greenroom[http]`; it is imported only when there are routes.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator

import uvicorn
from starlette.types import ASGIApp

from greenroom.protocol.limits import WEBHOOK_CONNECTIONS_MAX


class _Server(uvicorn.Server):
    """Says when it has started, and leaves the process's signals to the host."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpServer:
    """Serves `app` on a bound socket. All methods belong to the loop that called `start`."""

    def __init__(self, app: ASGIApp, bound: socket.socket) -> None:
        """Take ownership of `bound`, a listening socket."""
        self._bound = bound
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,  # paths and queries may hold what must not be logged
                proxy_headers=False,
                server_header=False,
                limit_concurrency=WEBHOOK_CONNECTIONS_MAX,
            )
        )
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self, on_end: Callable[[BaseException | None], None]) -> None:
        """Return when requests are served. `on_end` is called if serving ends without `stop`, with
        the failure if there was one. Raises what made the start fail.
        """
        task = asyncio.create_task(self._server.serve(sockets=[self._bound]), name="webhook server")
        ready = asyncio.create_task(self._server.ready.wait())
        try:
            await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if task.done():
            self._bound.close()
            await task
            raise RuntimeError("the HTTP server ended while it started")
        self._task = task

        def ended(task: asyncio.Task[None]) -> None:
            if not self._stopping:
                on_end(_failure(task))

        task.add_done_callback(ended)

    async def stop(self, grace_s: float) -> None:
        """Refuse new connections, let requests in hand finish within `grace_s`, then return.

        Safe in every state, also after serving ended with a failure.
        """
        if self._task is None:
            return
        self._stopping = True
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_s))
        if not self._task.done():
            self._server.should_exit = True
            await asyncio.wait({self._task})
        elif _failure(self._task) is not None:
            # It ended without its own shutdown: its connections are still open.
            await self._server.shutdown([self._bound])


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    if task.cancelled():
        return RuntimeError("the HTTP server's task was cancelled")
    return task.exception()


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket on the first address of `host`; port 0 takes a free one.

    Raises OSError.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        # Lets the same port be taken again at once after a stop; two listeners are still refused.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(WEBHOOK_CONNECTIONS_MAX)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made
