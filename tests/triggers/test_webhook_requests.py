"""What the server answers, and what it hands over, tried over real sockets."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from greenroom.actors.triggers.signatures import sign
from greenroom.actors.triggers.webhook_app import build_webhook_app
from greenroom.protocol.admission_errors import RateLimited
from greenroom.protocol.config import AgentRuntimeConfig, WebhookRoute
from greenroom.protocol.errors import (
    AskTimedOut,
    GreenroomError,
    IdempotencyConflict,
    InvalidConfig,
    InvalidValue,
    Overloaded,
    RuntimeNotRunning,
    StoreCorrupt,
    StoreUnavailable,
    StreamUnavailable,
    ValueTooLarge,
)

SECRET = "not a very good secret"
OPEN = WebhookRoute(source_id="open", path="/open", entry_point="desk")
SIGNED = WebhookRoute(source_id="signed", path="/signed", secret=SECRET)


def _no_sink() -> Any:
    return None


@pytest.mark.asyncio
async def test_an_accepted_request_is_answered_202_with_its_execution(serve: Any) -> None:
    served = await serve(OPEN)
    answer = await served.client.post("/open", json={"a": [1, 2]})
    assert answer.status_code == 202
    assert answer.json() == {"status": "accepted", "execution_id": "run-1", "duplicate": False}
    delivery = served.desk.deliveries[0]
    assert (delivery.source_id, delivery.entry_point) == ("open", "desk")
    assert delivery.payload == {"a": [1, 2]}
    assert (delivery.method, delivery.path, delivery.path_params) == ("POST", "/open", {})


@pytest.mark.asyncio
async def test_202_is_sent_only_after_the_sink_has_returned(serve: Any) -> None:
    served = await serve(OPEN)
    served.desk.gate = asyncio.Event()
    asked = asyncio.create_task(served.client.post("/open", json={}))
    await served.desk.entered.wait()
    await asyncio.sleep(0)  # a reply sent early would be on its way now
    assert not asked.done()
    served.desk.gate.set()
    assert (await asked).status_code == 202


@pytest.mark.asyncio
async def test_a_repeated_delivery_id_is_a_duplicate_of_the_first(serve: Any) -> None:
    served = await serve(OPEN)
    for expected in (False, True):
        answer = await served.client.post(
            "/open", json={}, headers={"X-GitHub-Delivery": "72d3162e"}
        )
        assert answer.json()["duplicate"] is expected
        assert answer.json()["execution_id"] == "run-1"
    assert len(served.desk.deliveries) == 1


@pytest.mark.asyncio
async def test_the_first_delivery_header_that_is_present_gives_the_whole_id(serve: Any) -> None:
    served = await serve(OPEN)
    whole = "msg_" + "x" * 200
    headers = {"Idempotency-Key": "later", "webhook-id": whole, "X-GitHub-Delivery": "middle"}
    await served.client.post("/open", json={}, headers=headers)
    await served.client.post("/open", json={}, headers={"Idempotency-Key": "only"})
    await served.client.post("/open", json={})
    assert [one.delivery_id for one in served.desk.deliveries] == [whole, "only", None]


@pytest.mark.asyncio
async def test_a_delivery_id_that_is_too_long_is_refused_and_not_cut(serve: Any) -> None:
    served = await serve(OPEN)
    answer = await served.client.post("/open", json={}, headers={"webhook-id": "x" * 256})
    assert answer.status_code == 400
    assert "256 characters" in answer.json()["error"]
    assert not served.desk.deliveries


@pytest.mark.asyncio
async def test_a_right_signature_over_the_raw_body_is_accepted(serve: Any) -> None:
    served = await serve(SIGNED)
    body = b'{"spaced"  :  "as sent"}'
    answer = await served.client.post(
        "/signed", content=body, headers={"X-Hub-Signature-256": sign(SECRET, body)}
    )
    assert answer.status_code == 202


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "signature",
    [
        None,
        b"",
        b"sha256=",
        b"sha256=" + b"0" * 64,
        b"sha256=" + b"0" * 4000,
        b"sha1=" + b"0" * 40,
        sign("another secret", b"{}").encode(),
        sign(SECRET, b"{} ").encode(),
        sign(SECRET, b"{}").encode() + b"0",
        sign(SECRET, b"{}").encode()[:-1],
        b"sha256=\xff\xfe\x80" + b"0" * 61,
        "sha256=\u00e9".encode(),
    ],
)
async def test_any_wrong_signature_is_answered_401(serve: Any, signature: bytes | None) -> None:
    served = await serve(SIGNED)
    headers = [] if signature is None else [(b"X-Hub-Signature-256", signature)]
    answer = await served.client.post("/signed", content=b"{}", headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"error": "Invalid signature"}
    assert not served.desk.deliveries


@pytest.mark.asyncio
async def test_the_signature_is_checked_before_the_body_is_read_as_json(serve: Any) -> None:
    """Bytes that are no text would be answered 400; without a signature they are answered 401."""
    served = await serve(SIGNED)
    assert (await served.client.post("/signed", content=b"\xff\xfe")).status_code == 401


@pytest.mark.asyncio
async def test_a_body_over_the_limit_is_answered_413_before_its_signature(serve: Any) -> None:
    served = await serve(SIGNED, body_bytes_max=100)
    exact, over = b"x" * 100, b"x" * 101
    assert (await served.client.post("/signed", content=over)).status_code == 413
    answer = await served.client.post(
        "/signed", content=exact, headers={"X-Hub-Signature-256": sign(SECRET, exact)}
    )
    assert answer.status_code == 202


@pytest.mark.asyncio
async def test_a_chunked_body_over_the_limit_is_answered_413(serve: Any) -> None:
    served = await serve(OPEN, body_bytes_max=100)

    async def chunks() -> Any:
        for _ in range(500):
            yield b"x" * 1000

    answer = await served.client.post("/open", content=chunks())
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 413
    assert not served.desk.deliveries


@pytest.mark.asyncio
async def test_a_huge_declared_length_is_refused_without_reading_it(serve: Any) -> None:
    """The body is never sent: waiting for it would hang."""
    served = await serve(OPEN, body_bytes_max=100)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\n")
    assert b"413" in await asyncio.wait_for(reader.readline(), 10)
    writer.close()


@pytest.mark.asyncio
async def test_a_body_that_does_not_arrive_in_time_is_answered_408(serve: Any) -> None:
    served = await serve(OPEN, body_timeout_s=0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")
    assert b"408" in await asyncio.wait_for(reader.readline(), 10)
    writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b"", {}),
        (b"  ", {}),
        (b"[1]", [1]),
        (b"plain text", {"raw_body": "plain text"}),
        (b'{"open": ', {"raw_body": '{"open": '}),
        (b"NaN", {"raw_body": "NaN"}),
        ("\ufeff{}".encode(), {}),
        ("caf\u00e9".encode(), {"raw_body": "caf\u00e9"}),
    ],
)
async def test_a_body_that_is_not_json_is_kept_as_text(
    serve: Any, body: bytes, payload: Any
) -> None:
    served = await serve(OPEN)
    assert (await served.client.post("/open", content=body)).status_code == 202
    assert served.desk.deliveries[0].payload == payload


@pytest.mark.asyncio
@pytest.mark.parametrize("body", [b"\xff\xfe", b"{}\xff"])
async def test_a_body_that_cannot_be_read_is_answered_400(serve: Any, body: bytes) -> None:
    served = await serve(OPEN)
    assert (await served.client.post("/open", content=body)).status_code == 400


@pytest.mark.asyncio
async def test_credentials_never_reach_the_delivery(serve: Any) -> None:
    served = await serve(SIGNED)
    headers = {
        "X-Hub-Signature-256": sign(SECRET, b"{}"),
        "X-Hub-Signature": "sha1=abc",
        "Authorization": "Bearer hush",
        "Proxy-Authorization": "hush",
        "Cookie": "session=hush",
        "X-Gitlab-Token": "hush",
        "X-Api-Key": "hush",
        "X-GitHub-Event": "issues",
    }
    await served.client.post("/signed?page=2&access_token=hush", content=b"{}", headers=headers)
    delivery = served.desk.deliveries[0]
    text = json.dumps([delivery.headers, delivery.query_params, delivery.path])
    assert "hush" not in text
    assert "signature" not in text
    assert SECRET not in text
    assert delivery.headers["x-github-event"] == "issues"
    assert delivery.query_params == {"page": "2"}


@pytest.mark.asyncio
async def test_path_parameters_are_handed_over_with_their_types(serve: Any) -> None:
    served = await serve(WebhookRoute(source_id="team", path="/team/{name}/{number:int}"))
    assert (await served.client.post("/team/a%20b/7")).status_code == 202
    assert served.desk.deliveries[0].path_params == {"name": "a b", "number": 7}
    assert (await served.client.post("/team/a/x")).status_code == 404


@pytest.mark.asyncio
async def test_unknown_paths_are_404_and_unserved_methods_405(serve: Any) -> None:
    served = await serve(OPEN, WebhookRoute(source_id="get", path="/get", methods=("GET",)))
    assert (await served.client.post("/nothing")).status_code == 404
    assert (await served.client.post("/open/")).status_code == 404
    refused = await served.client.get("/open")
    assert refused.status_code == 405
    assert refused.json() == {"error": "Method Not Allowed"}
    assert refused.headers["allow"] == "POST"
    assert (await served.client.head("/get")).status_code == 405
    assert (await served.client.get("/get")).status_code == 202


@pytest.mark.asyncio
async def test_one_path_may_serve_other_methods_for_another_route(serve: Any) -> None:
    served = await serve(
        WebhookRoute(source_id="put", path="/x", methods=("PUT",)),
        WebhookRoute(source_id="post", path="/x", methods=("POST",)),
    )
    await served.client.post("/x")
    await served.client.put("/x")
    assert [one.source_id for one in served.desk.deliveries] == ["post", "put"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("refusal", "status", "retry_after"),
    [
        (Overloaded("desk", 9, 9, 2.4), 503, "3"),
        (RateLimited("desk", "1 in 60 s", 41.2), 429, "42"),
        (StreamUnavailable("desk is down"), 503, "1"),
        (StoreUnavailable("disk full"), 503, "1"),
        (AskTimedOut("no reply"), 503, "1"),
        (RuntimeNotRunning("stopped"), 503, "1"),
        (InvalidValue("$.payload", "no"), 400, None),
        (ValueTooLarge("$.payload", 9, 8), 413, None),
        (IdempotencyConflict("key", "run-1"), 409, None),
        (StoreCorrupt("/a/path"), 500, None),
        (ZeroDivisionError("a secret detail"), 500, None),
    ],
)
async def test_what_the_sink_raises_has_its_answer(
    serve: Any, refusal: Exception, status: int, retry_after: str | None
) -> None:
    served = await serve(OPEN)
    served.desk.refusal = refusal
    answer = await served.client.post("/open", json={})
    assert answer.status_code == status
    assert answer.headers.get("retry-after") == retry_after
    shown = isinstance(refusal, GreenroomError) and status != 500
    assert answer.json() == {"error": str(refusal) if shown else "internal error"}
    served.desk.refusal = None
    assert (await served.client.post("/open", json={})).status_code == 202


@pytest.mark.parametrize("second", ["/hooks/{b}", "/hooks/{a}"])
def test_the_same_method_on_the_same_path_twice_is_refused(second: str) -> None:
    routes = [
        WebhookRoute(source_id="one", path="/hooks/{a}"),
        WebhookRoute(source_id="two", path=second, methods=("GET", "POST")),
    ]
    with pytest.raises(InvalidConfig, match=r"'one' and 'two' both serve POST"):
        build_webhook_app(routes, _no_sink(), 10)


def test_the_configuration_refuses_the_same_path_twice_too() -> None:
    route = {"source_id": "one", "path": "/hooks"}
    with pytest.raises(InvalidConfig, match="both serve"):
        AgentRuntimeConfig(webhook_routes=[route, {**route, "source_id": "two"}])


@pytest.mark.parametrize("path", ["/x/{a:nothing}", "/x/{a}/{a}"])
def test_a_path_that_cannot_be_read_is_refused(path: str) -> None:
    with pytest.raises(InvalidConfig, match="cannot be read"):
        build_webhook_app([WebhookRoute(source_id="x", path=path)], _no_sink(), 10)


@pytest.mark.asyncio
async def test_stop_lets_the_request_in_hand_finish_and_refuses_the_next(serve: Any) -> None:
    served = await serve(OPEN)
    served.desk.gate = asyncio.Event()
    asked = asyncio.create_task(served.client.post("/open", json={}))
    await served.desk.entered.wait()
    stopping = asyncio.create_task(served.server.stop(5.0))
    await asyncio.sleep(0)
    served.desk.gate.set()
    assert (await asked).status_code == 202
    await stopping
    with pytest.raises(httpx2.ConnectError):
        await served.client.post("/open", json={})
