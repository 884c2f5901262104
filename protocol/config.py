"""Settings of the runtime as a whole."""

from typing import Any

import msgspec

from greenroom.protocol.errors import InvalidConfig
from greenroom.protocol.ids import validate_id
from greenroom.protocol.limits import (
    CONCURRENT_EXECUTIONS_DEFAULT,
    CONCURRENT_MAX,
    EVENT_HISTORY_DEFAULT,
    EVENT_HISTORY_MAX,
    EVENT_LOG_DEFAULT,
    EVENT_LOG_MAX,
    EVENT_LOG_MIN,
    EVENT_LOG_TTL_S_MIN,
    EXECUTION_RESULTS_DEFAULT,
    EXECUTION_RESULTS_MAX,
    JOURNAL_RECORDS_DEFAULT,
    JOURNAL_RECORDS_MAX,
    JOURNAL_RECORDS_MIN,
    JOURNAL_TTL_S_MIN,
    SHUTDOWN_TIMEOUT_S_DEFAULT,
    SHUTDOWN_TIMEOUT_S_MAX,
    TTL_S_MAX,
    WEBHOOK_BODY_BYTES_DEFAULT,
    WEBHOOK_BODY_BYTES_MAX,
    WEBHOOK_PORT_DEFAULT,
    WEBHOOK_ROUTES_MAX,
)
from greenroom.protocol.settings import check_integer, check_number, is_text_list, require

DELIVERY_HEADERS_DEFAULT = ("webhook-id", "X-GitHub-Delivery", "Idempotency-Key")
WEBHOOK_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


class WebhookRoute(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One path of the webhook server.

    `source_id` becomes the stream id of its `webhook_received` events. `path` starts with "/" and
    may hold parameters, as in `/hooks/{team}`. With `secret`, requests must carry
    `X-Hub-Signature-256`. With `entry_point`, an accepted request also starts an execution there.
    `delivery_headers` name the headers that may hold the delivery id; the first one present wins,
    and a repeated id is answered with the first execution. The secret is left out of `repr`.

    Raises InvalidId and InvalidConfig when constructed with values that cannot be used.
    """

    source_id: str
    path: str
    methods: tuple[str, ...] = ("POST",)
    secret: str | None = None
    entry_point: str | None = None
    delivery_headers: tuple[str, ...] = DELIVERY_HEADERS_DEFAULT

    def __post_init__(self) -> None:
        validate_id("webhook source", self.source_id)
        where = f"webhook route {self.source_id!r}: "
        require(
            isinstance(self.path, str) and self.path.startswith("/") and "?" not in self.path,
            f"{where}path is {self.path!a:.80}: it must start with '/' and have no query",
        )
        require(
            is_text_list(self.methods) and bool(self.methods),
            where + "methods must be a list of HTTP methods",
        )
        methods = tuple(dict.fromkeys(method.upper() for method in self.methods))
        wrong = sorted(set(methods) - WEBHOOK_METHODS)
        require(not wrong, f"{where}methods {wrong} are not served: use {sorted(WEBHOOK_METHODS)}")
        msgspec.structs.force_setattr(self, "methods", methods)
        require(
            self.secret is None or (isinstance(self.secret, str) and bool(self.secret)),
            where + "secret must be a str that is not empty, or None for unsigned requests",
        )
        if self.entry_point is not None:
            validate_id("entry point", self.entry_point)
        require(
            is_text_list(self.delivery_headers) and all(self.delivery_headers),
            where + "delivery_headers must be a list of header names",
        )
        msgspec.structs.force_setattr(self, "delivery_headers", tuple(self.delivery_headers))

    def __rich_repr__(self) -> Any:
        """Yield the fields for `repr`, with the secret masked."""
        for field in self.__struct_fields__:
            value = getattr(self, field)
            yield field, "***" if field == "secret" and value is not None else value

    def __repr__(self) -> str:
        return f"WebhookRoute({', '.join(f'{k}={v!r}' for k, v in self.__rich_repr__())})"


class AgentRuntimeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one runtime; every one has an effect.

    `max_concurrent_executions`: over all entry points. `max_history`: how many events
    `get_history` looks back over. `execution_result_max`: finished executions of one entry point
    whose outputs are kept. `execution_result_ttl_seconds`: how long after its end an execution is
    kept; it leaves within a tenth of that, and a minute at most. `event_log_max` and
    `event_log_ttl_seconds`: how many events the log keeps, and how long; what was committed last
    stays, and so does what an event-driven entry point or the goal's progress has not read yet.
    `journal_record_max` and `journal_record_ttl_seconds`: how many steps of one session are kept,
    within a tenth more, and how long; None: all. Its first and newest step, and what its
    checkpoints and forks lead to, stay in any case.
    The webhook server starts only with routes; port 0 takes a free one. `webhook_routes` takes
    WebhookRoute or dicts with its fields; `routes` is the converted form. `shutdown_timeout_s`: how
    long `stop()` waits for nodes in flight. `uvloop`: run nodes on uvloop (needs the extra of that
    name).

    Raises InvalidConfig when constructed with values that cannot be used.
    """

    max_concurrent_executions: int = CONCURRENT_EXECUTIONS_DEFAULT
    max_history: int = EVENT_HISTORY_DEFAULT
    execution_result_max: int = EXECUTION_RESULTS_DEFAULT
    execution_result_ttl_seconds: float | None = None
    event_log_max: int = EVENT_LOG_DEFAULT
    event_log_ttl_seconds: float | None = None
    journal_record_max: int | None = JOURNAL_RECORDS_DEFAULT
    journal_record_ttl_seconds: float | None = None
    webhook_host: str = "127.0.0.1"
    webhook_port: int = WEBHOOK_PORT_DEFAULT
    webhook_routes: list[Any] = []
    webhook_body_bytes_max: int = WEBHOOK_BODY_BYTES_DEFAULT
    shutdown_timeout_s: float = SHUTDOWN_TIMEOUT_S_DEFAULT
    uvloop: bool = False

    def __post_init__(self) -> None:
        check_integer(
            "max_concurrent_executions", self.max_concurrent_executions, 1, CONCURRENT_MAX
        )
        check_integer("max_history", self.max_history, 0, EVENT_HISTORY_MAX)
        check_integer("execution_result_max", self.execution_result_max, 1, EXECUTION_RESULTS_MAX)
        _check_age("execution_result_ttl_seconds", self.execution_result_ttl_seconds, 0)
        check_integer("event_log_max", self.event_log_max, EVENT_LOG_MIN, EVENT_LOG_MAX)
        _check_age("event_log_ttl_seconds", self.event_log_ttl_seconds, EVENT_LOG_TTL_S_MIN)
        if self.journal_record_max is not None:
            check_integer(
                "journal_record_max",
                self.journal_record_max,
                JOURNAL_RECORDS_MIN,
                JOURNAL_RECORDS_MAX,
            )
        _check_age("journal_record_ttl_seconds", self.journal_record_ttl_seconds, JOURNAL_TTL_S_MIN)
        check_integer("webhook_port", self.webhook_port, 0, 65_535)
        check_integer(
            "webhook_body_bytes_max", self.webhook_body_bytes_max, 1, WEBHOOK_BODY_BYTES_MAX
        )
        check_number("shutdown_timeout_s", self.shutdown_timeout_s, 0, SHUTDOWN_TIMEOUT_S_MAX)
        require(isinstance(self.uvloop, bool), "uvloop must be True or False")
        require(
            isinstance(self.webhook_host, str) and bool(self.webhook_host),
            "webhook_host must be a host name or address, as in '127.0.0.1'",
        )
        require(
            isinstance(self.webhook_routes, list | tuple)
            and len(self.webhook_routes) <= WEBHOOK_ROUTES_MAX,
            f"webhook_routes must be a list of at most {WEBHOOK_ROUTES_MAX} routes",
        )
        routes = [_route(at, route) for at, route in enumerate(self.webhook_routes)]
        _refuse_clashes(routes)
        msgspec.structs.force_setattr(self, "webhook_routes", routes)

    @property
    def routes(self) -> tuple[WebhookRoute, ...]:
        """The webhook routes in their checked form."""
        return tuple(self.webhook_routes)


def _check_age(name: str, value: float | None, low: float) -> None:
    if value is not None:
        check_number(name, value, low, TTL_S_MAX)


def _route(at: int, route: object) -> WebhookRoute:
    if isinstance(route, WebhookRoute):
        return route
    if not isinstance(route, dict):
        raise InvalidConfig(
            f"webhook_routes[{at}] is a {type(route).__name__}: use a WebhookRoute or a dict"
        )
    fields = WebhookRoute.__struct_fields__
    unknown = sorted(str(key) for key in route if key not in fields)
    if unknown:
        raise InvalidConfig(f"webhook_routes[{at}] has unknown keys {unknown}: use {list(fields)}")
    missing = [key for key in ("source_id", "path") if key not in route]
    if missing:
        raise InvalidConfig(f"webhook_routes[{at}] lacks {missing}")
    return WebhookRoute(**route)


def _refuse_clashes(routes: list[WebhookRoute]) -> None:
    taken: dict[tuple[str, str], str] = {}
    for route in routes:
        for method in route.methods:
            if (method, route.path) in taken:
                raise InvalidConfig(
                    f"webhook routes {taken[method, route.path]!r} and {route.source_id!r} "
                    f"both serve {method} {route.path}: give each its own path"
                )
            taken[method, route.path] = route.source_id
