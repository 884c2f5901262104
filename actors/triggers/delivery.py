"""What the webhook server hands over, and what it gets back. Knows no HTTP library.

A delivery is built only from requests that passed the size limit and the signature. Headers and
query parameters whose names speak of credentials are left out here, before anything can store or
log them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from greenroom.protocol.errors import InvalidValue
from greenroom.protocol.limits import DELIVERY_ID_CHARS_MAX

_SECRET_WORDS: Final = (
    "authorization",
    "cookie",
    "signature",
    "secret",
    "token",
    "password",
    "credential",
    "api-key",
    "api_key",
    "apikey",
)


class WebhookDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """One verified request.

    `source_id` and `entry_point` come from the route; with `entry_point` None only an event is
    wanted. `delivery_id` is the sender's own id, whole, or None; a repeat of it within one source
    is a duplicate. `payload` is the JSON body, `{}` for an empty body, `{"raw_body": text}` for a
    body that is not JSON. Header names are in lower case; a header that came twice is joined with
    a comma. No header or parameter that may hold a credential is among them.
    """

    source_id: str
    entry_point: str | None
    delivery_id: str | None
    path: str
    path_params: dict[str, Any]
    method: str
    headers: dict[str, str]
    payload: Any
    query_params: dict[str, str]

    def data(self) -> dict[str, Any]:
        """The data of the `webhook_received` event, which is also the execution's input."""
        return {
            "path": self.path,
            "path_params": self.path_params,
            "method": self.method,
            "headers": self.headers,
            "payload": self.payload,
            "query_params": self.query_params,
        }


class WebhookReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an accepted delivery, given only after the commit.

    `execution_id` is the execution that holds this delivery, for a duplicate that of the first
    one; None when the route has no entry point.
    """

    execution_id: str | None = None
    duplicate: bool = False


class WebhookSink(Protocol):
    """Takes deliveries in; called on the server's event loop, many at once."""

    async def accept(self, delivery: WebhookDelivery) -> WebhookReceipt:
        """Store the delivery, its event and its execution in one commit, then return.

        Raises Overloaded, StreamUnavailable, StoreUnavailable (answered 503), RateLimited (429),
        InvalidValue (400), ValueTooLarge (413), IdempotencyConflict (409).
        """
        ...


def is_secret_name(name: str) -> bool:
    """Say whether a header or parameter of this name may hold a credential."""
    lower = name.lower()
    return any(word in lower for word in _SECRET_WORDS)


def without_secrets(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the pairs as a dict with lower-case names, without those that may hold credentials.

    A name that comes twice keeps both values, joined with a comma.
    """
    kept: dict[str, str] = {}
    for name, value in pairs:
        lower = name.lower()
        if is_secret_name(lower):
            continue
        kept[lower] = f"{kept[lower]}, {value}" if lower in kept else value
    return kept


def delivery_id_of(headers: Mapping[str, str], names: Sequence[str]) -> str | None:
    """Return the value of the first of `names` that is present and not empty, or None.

    `headers` has lower-case names. Raises InvalidValue when the id is too long: an id that was cut
    could equal another one, and a delivery would be lost as its duplicate.
    """
    for name in names:
        value = headers.get(name.lower(), "").strip()
        if not value:
            continue
        if len(value) > DELIVERY_ID_CHARS_MAX:
            raise InvalidValue(
                f"header {name}",
                f"the delivery id has {len(value)} characters: use at most {DELIVERY_ID_CHARS_MAX}",
            )
        return value
    return None


def parse_payload(body: bytes) -> Any:
    """Return the payload for a request body: `{}` if empty, `{"raw_body": text}` if not JSON.

    Raises InvalidValue for bytes that are not UTF-8, and for JSON nested too deeply to be read.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValue("body", f"byte {error.start} is not UTF-8") from error
    if not text.strip():
        return {}
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise InvalidValue("body", "the JSON is nested too deeply") from error
    except ValueError:
        return {"raw_body": text}


def _refuse_constant(name: str) -> Any:
    # The parser takes NaN and Infinity, which are no JSON and cannot be stored.
    raise ValueError(f"{name} is not JSON")
