"""The HTTP side of webhooks: from a request to a `WebhookDelivery`, and from a receipt to a 202.

This module needs the extra `greenroom[http]`; it is imported only when there are routes.
"""

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from greenroom.actors.triggers.delivery import (
    WebhookDelivery,
    WebhookSink,
    delivery_id_of,
    parse_payload,
    without_secrets,
)
from greenroom.actors.triggers.signatures import SIGNATURE_HEADER, is_signed
from greenroom.protocol.admission_errors import RateLimited
from greenroom.protocol.config import WebhookRoute
from greenroom.protocol.errors import (
    GreenroomError,
    IdempotencyConflict,
    InvalidConfig,
    InvalidInput,
    Overloaded,
    RuntimeStateError,
    ValueTooLarge,
)
from greenroom.protocol.limits import WEBHOOK_BODY_TIMEOUT_S, WEBHOOK_DISCARD_BYTES_MAX

_log = logging.getLogger("greenroom.webhooks")
_PARAMETER: Final = re.compile(r"{[^}:]*(:[^}]*)?}")
_RETRY_AFTER_S: Final = 1

_Endpoint = Callable[[Request], Awaitable[Response]]


class _BodyTooLarge(Exception):
    """The body passed the limit; it was not kept."""


def build_webhook_app(
    routes: Sequence[WebhookRoute],
    sink: WebhookSink,
    body_bytes_max: int,
    body_timeout_s: float = WEBHOOK_BODY_TIMEOUT_S,
) -> Starlette:
    """Return an ASGI application that serves `routes` and gives what is accepted to `sink`.

    Checked in this order: path (404), method (405), size (413), signature (401), body (400). The
    202 `{"status": "accepted", "execution_id", "duplicate"}` is sent after `sink.accept` returned.
    When two paths match a request, the route that was declared first serves it.

    Raises InvalidConfig for a path that cannot be read, and for two routes that serve the same
    method on the same path, whatever their parameters are called.
    """
    taken: dict[tuple[str, str], str] = {}
    served: list[Route] = []
    for route in routes:
        shape = _PARAMETER.sub(r"{\1}", route.path)
        for method in route.methods:
            if (method, shape) in taken:
                raise InvalidConfig(
                    f"webhook routes {taken[method, shape]!r} and {route.source_id!r} both serve "
                    f"{method} {route.path}: give each its own path"
                )
            taken[method, shape] = route.source_id
        served.append(_starlette_route(route, sink, body_bytes_max, body_timeout_s))
    app = Starlette(routes=served, exception_handlers={HTTPException: _http_error})
    # A redirected POST is sent again by few senders: an unknown path is plainly unknown.
    app.router.redirect_slashes = False
    return app


def _starlette_route(
    route: WebhookRoute, sink: WebhookSink, body_bytes_max: int, body_timeout_s: float
) -> Route:
    endpoint = _endpoint(route, sink, body_bytes_max, body_timeout_s)
    try:
        made = Route(route.path, endpoint, methods=list(route.methods))
    except (AssertionError, ValueError, re.error) as error:
        raise InvalidConfig(
            f"webhook route {route.source_id!r}: path {route.path!r} cannot be read: {error}"
        ) from error
    # Starlette adds HEAD to GET; a HEAD request must not start anything.
    made.methods = set(route.methods)
    return made


def _endpoint(
    route: WebhookRoute, sink: WebhookSink, body_bytes_max: int, body_timeout_s: float
) -> _Endpoint:
    async def serve(request: Request) -> Response:
        try:
            async with asyncio.timeout(body_timeout_s):
                body = await _read_body(request, body_bytes_max)
        except _BodyTooLarge:
            return _error(413, f"the body is over the limit of {body_bytes_max} bytes")
        except TimeoutError:
            return _error(408, f"the body did not arrive within {body_timeout_s:g} s")
        except ClientDisconnect:
            return _error(400, "the body ended early")  # nobody is left to read it
        if route.secret is not None and not is_signed(route.secret, body, _signature(request)):
            return _error(401, "Invalid signature")
        try:
            receipt = await sink.accept(_delivery(route, request, body))
        except GreenroomError as error:
            return _refusal(route, error)
        except Exception:  # noqa: BLE001 - the border of the server
            # The border of the server: a fault of the sink is reported, and answered like any
            # other failure instead of with a torn connection.
            _log.exception("webhook %s: the delivery failed", route.source_id)
            return _error(500, "internal error")
        return JSONResponse(
            {
                "status": "accepted",
                "execution_id": receipt.execution_id,
                "duplicate": receipt.duplicate,
            },
            status_code=202,
        )

    return serve


async def _read_body(request: Request, limit: int) -> bytes:
    """Return the body, holding never more than `limit` bytes and one chunk. Raises _BodyTooLarge.

    What comes after the limit is thrown away up to a bound: a sender that is refused while it
    writes would see a broken connection and not the 413.
    """
    declared = request.headers.get("content-length", "")
    length = int(declared) if declared.isdecimal() else 0
    if length > limit + WEBHOOK_DISCARD_BYTES_MAX or (length > limit and _asks_first(request)):
        raise _BodyTooLarge
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit + WEBHOOK_DISCARD_BYTES_MAX:
            raise _BodyTooLarge
        if size > limit:
            chunks.clear()
        else:
            chunks.append(chunk)
    if size > limit:
        raise _BodyTooLarge
    return b"".join(chunks)


def _asks_first(request: Request) -> bool:
    return request.headers.get("expect", "").lower() == "100-continue"


def _signature(request: Request) -> bytes | None:
    wanted = SIGNATURE_HEADER.lower().encode()
    return next((value for name, value in request.headers.raw if name.lower() == wanted), None)


def _delivery(route: WebhookRoute, request: Request, body: bytes) -> WebhookDelivery:
    return WebhookDelivery(
        source_id=route.source_id,
        entry_point=route.entry_point,
        # From the full headers: the name of an id header may look like that of a credential.
        delivery_id=delivery_id_of(request.headers, route.delivery_headers),
        path=request.scope["path"],
        path_params=dict(request.path_params),
        method=request.method,
        headers=without_secrets(request.headers.items()),
        payload=parse_payload(body),
        query_params=without_secrets(request.query_params.multi_items()),
    )


def _refusal(route: WebhookRoute, error: GreenroomError) -> JSONResponse:
    match error:
        case ValueTooLarge():
            return _error(413, str(error))
        case InvalidInput():
            return _error(400, str(error))
        case IdempotencyConflict():
            return _error(409, str(error))
        case RateLimited():
            return _error(429, str(error), retry_after_s=error.retry_after)
        case Overloaded():
            return _error(503, str(error), retry_after_s=error.retry_after)
        case RuntimeStateError():
            return _error(503, str(error), retry_after_s=_RETRY_AFTER_S)
        case _ if error.retryable:
            return _error(503, str(error), retry_after_s=_RETRY_AFTER_S)
        case _:
            _log.error("webhook %s: the delivery failed", route.source_id, exc_info=error)
            return _error(500, "internal error")


def _error(status: int, message: str, retry_after_s: float | None = None) -> JSONResponse:
    headers = {}
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    return JSONResponse({"error": message}, status_code=status, headers=headers)


async def _http_error(request: Request, error: Any) -> Response:
    return JSONResponse(
        {"error": error.detail}, status_code=error.status_code, headers=error.headers
    )
