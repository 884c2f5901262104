"""The webhook server as a supervised actor, and the handle by which its host holds it.

The handle owns what must outlive a crash: the listening socket, so that the port stays the same
and connections wait meanwhile, and the server's own event loop, so that large bodies delay no
stream. Each instance of the actor runs one HTTP server on them.
"""

import asyncio
import contextlib
import errno
import functools
import importlib
import logging
import socket
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, ClassVar

import msgspec

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.dispatcher import LoopDispatcher
from greenroom.actors.kernel.specs import ChildSpec
from greenroom.actors.triggers.delivery import WebhookSink
from greenroom.protocol.config import AgentRuntimeConfig
from greenroom.protocol.errors import ActorStopped, InvalidConfig, PortInUse

logger = logging.getLogger("greenroom.webhooks")

ADDRESS = "webhook_server"
_CRASH_GRACE_S = 1.0
_MARGIN_S = 2.0  # what closing connections may take beyond the grace for requests
_MODULES = ("greenroom.actors.triggers.webhook_app", "greenroom.actors.triggers.http_server")


class ServerEnded(msgspec.Struct, frozen=True, tag="webhook_server_ended"):
    """From the server's loop to the actor: serving has ended by itself."""

    reason: str


class WebhookServer:
    """One server for the routes of a configuration.

    `open()`, then start `child_spec()` under a supervisor; when that child has stopped, `close()`.
    `open` may be called again after `close`.
    """

    def __init__(self, config: AgentRuntimeConfig, sink: WebhookSink) -> None:
        self._config = config
        self._sink = sink
        self._listener: socket.socket | None = None
        self._dispatcher: LoopDispatcher | None = None
        self._app: Any = None
        self._http: Any = None
        self.is_running = False

    @property
    def host(self) -> str:
        """The host it listens on, as configured."""
        return self._config.webhook_host

    @property
    def port(self) -> int:
        """The port in use, the real one for a configured 0. Raises RuntimeError before `open`."""
        if self._listener is None:
            raise RuntimeError("the webhook server is not open")
        port: int = self._listener.getsockname()[1]
        return port

    def open(self) -> None:
        """Check the routes, take the port and start the loop; serves nothing yet.

        Raises InvalidConfig (routes that clash, the HTTP packages missing, a host that is none of
        this machine's) and PortInUse; nothing is left open then.
        """
        app_module, self._http = _load()
        self._app = app_module.build_webhook_app(
            self._config.routes, self._sink, self._config.webhook_body_bytes_max
        )
        try:
            listener: socket.socket = self._http.bind(self.host, self._config.webhook_port)
        except (OSError, UnicodeError) as error:
            raise _why_not_bound(self.host, self._config.webhook_port, error) from error
        dispatcher = LoopDispatcher("greenroom-webhooks")
        try:
            dispatcher.start()
        except BaseException:
            listener.close()
            raise
        self._listener, self._dispatcher = listener, dispatcher

    def child_spec(self) -> ChildSpec:
        """The child to run under a supervisor between `open` and `close`."""
        return ChildSpec(
            id=ADDRESS,
            factory=functools.partial(WebhookServerActor, self),
            shutdown_timeout=self._config.shutdown_timeout_s + _MARGIN_S,
        )

    def close(self) -> None:
        """Give the port back and end the loop; safe at any time. Stop the child first."""
        listener, self._listener = self._listener, None
        dispatcher, self._dispatcher = self._dispatcher, None
        self.is_running = False
        if listener is not None:
            listener.close()
        if dispatcher is not None and not dispatcher.stop(_MARGIN_S):
            logger.warning("the loop of the webhook server did not end within %g s", _MARGIN_S)

    # What follows is for the actor.

    @property
    def grace_s(self) -> float:
        """How long requests in hand may take at an orderly stop."""
        return self._config.shutdown_timeout_s

    def new_http_server(self) -> Any:
        """An HttpServer of its own on a copy of the listening socket, not started."""
        assert self._listener is not None
        return self._http.HttpServer(self._app, self._listener.dup())

    async def on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` on the server's loop and wait for it on the caller's."""
        assert self._dispatcher is not None
        loop = self._dispatcher.loop
        assert loop is not None
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


class WebhookServerActor(Actor[ServerEnded]):
    """Runs one HTTP server from start to stop; its end by itself is a crash of the actor."""

    messages: ClassVar[Any] = ServerEnded

    def __init__(self, server: WebhookServer) -> None:
        super().__init__()
        self._server = server
        self._http: Any = None

    async def on_start(self) -> None:
        """Serve; a failure is a failed start, which the supervisor tries again."""
        http = self._server.new_http_server()
        await self._server.on_loop(http.start(self._on_end))
        self._http = http
        self._server.is_running = True

    def _on_end(self, failure: BaseException | None) -> None:
        # Runs on the server's loop.
        self._server.is_running = False
        reason = repr(failure) if failure else "it was told to exit"
        # An actor that has stopped for good meanwhile has nothing to restart.
        with contextlib.suppress(ActorStopped):
            self.ref.tell(ServerEnded(reason=reason), control=True, incarnation=self.incarnation)

    def handle(self, message: ServerEnded) -> None:
        """Crash, so that the supervisor starts the next server."""
        raise RuntimeError(f"the webhook server ended: {message.reason}")

    async def on_stop(self) -> None:
        """Let requests in hand finish."""
        await self._end(self._server.grace_s)

    async def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Free the loop and the connections for the next instance."""
        await self._end(_CRASH_GRACE_S)

    async def _end(self, grace_s: float) -> None:
        http, self._http = self._http, None
        if http is not None:
            await self._server.on_loop(http.stop(grace_s))
            self._server.is_running = False


def _load() -> tuple[Any, Any]:
    """The modules that need the HTTP packages: a runtime without routes must not need them."""
    try:
        app_module, http_module = (importlib.import_module(name) for name in _MODULES)
    except ModuleNotFoundError as error:
        raise InvalidConfig(
            f"webhook routes need the package {error.name!r}, which is not installed: "
            "run pip install 'greenroom[http]'"
        ) from error
    return app_module, http_module


def _why_not_bound(host: str, port: int, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return PortInUse(host, port)
    return InvalidConfig(f"the webhook server cannot listen on {host!a}, port {port}: {error}")
