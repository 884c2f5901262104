"""What a node may ask: keys, schemas, sizes; and what the answers to it may be."""

from typing import Any

import msgspec
import pytest

from greenroom.actors.nodes.answer_schemas import check_answer, encode_schema
from greenroom.protocol.errors import InvalidInput, ValueTooLarge
from greenroom.protocol.limits import ANSWER_SCHEMA_BYTES_MAX, PROMPT_CHARS_MAX, QUESTIONS_OPEN_MAX
from greenroom.protocol.people_errors import InvalidAnswer
from greenroom.protocol.questions import question_id, split_question_id
from greenroom.protocol.values import answer_digest, decode_value, encode_value

TICKET = {
    "type": "object",
    "properties": {"urgent": {"type": "boolean"}, "tags": {"items": {"type": "string"}}},
    "required": ["urgent"],
}


def asks(rig: Any, ask: Any, name: str = "n", **fields: Any) -> Any:
    """The result of a node that does `ask(ctx)`."""
    rig.node(lambda ctx: ask(ctx), name, **fields)
    return rig.run(name)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(encode_value(value))


def test_a_question_goes_with_the_result_and_its_id_counts_on(rig: Any) -> None:
    ids: list[str] = []

    async def work(ctx: Any) -> dict[str, Any]:
        ids.append(ctx.ask("Publish?", to="ok", schema={"type": "boolean"}, assignee="ada"))
        ids.append(ctx.ask("Why?", to="why"))
        return {"draft": "text"}

    rig.node(work)
    result = rig.run(asked=4)
    first, second = result.questions
    assert ids == ["e1:q5", "e1:q6"]
    assert (first.prompt, first.to, first.assignee) == ("Publish?", "ok", "ada")
    assert decode_value(first.schema) == {"type": "boolean"}
    assert (second.to, second.schema, second.assignee) == ("why", None, None)
    assert list(result.outputs) == ["draft"]


def test_a_plain_function_asks_in_the_same_way(rig: Any) -> None:
    (question,) = asks(rig, lambda ctx: ctx.ask("Really?") and None).questions
    assert (question.prompt, question.to) == ("Really?", "answer")


def test_the_answer_goes_to_the_only_output_key_unless_another_is_named(rig: Any) -> None:
    (question,) = asks(rig, lambda ctx: ctx.ask("?") and None, output_keys=["ok"]).questions
    assert question.to == "ok"
    several = asks(rig, lambda ctx: ctx.ask("?"), "several", output_keys=["a", "b"])
    assert several.error == "say which key the answer goes to: to= one of 'a', 'b'"
    other = asks(rig, lambda ctx: ctx.ask("?", to="c"), "other", output_keys=["a", "b"])
    assert other.error == "Not allowed to write key: c"


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (lambda ctx: (ctx.ask("?", to="a"), ctx.ask("?", to="a")), "two questions are answered"),
        (lambda ctx: ctx.ask(""), "prompt: must be a str, not empty"),
        (lambda ctx: ctx.ask(None), "prompt: must be a str"),
        (lambda ctx: ctx.ask("\ud800"), "prompt: character 0 is a lone surrogate"),
        (lambda ctx: ctx.ask("x" * (PROMPT_CHARS_MAX + 1)), "prompt"),
        (lambda ctx: ctx.ask("?", assignee=""), "assignee: must be a str, not empty"),
        (lambda ctx: ctx.ask("?", to=""), "must be a str, not empty"),
        (lambda ctx: ctx.ask("?", schema=[]), "a schema is a dict"),
        (lambda ctx: ctx.ask("?", schema={"type": "number of cats"}), "not a JSON Schema"),
        (lambda ctx: ctx.ask("?", schema={"const": b"x"}), "not a JSON Schema"),
        (lambda ctx: ctx.ask("?", schema={"$ref": "file:///etc/hosts"}), "nothing is fetched"),
        (lambda ctx: [ctx.ask("?", to=f"k{n}") for n in range(QUESTIONS_OPEN_MAX + 1)], "at once"),
    ],
)
def test_what_cannot_be_asked_fails_the_node_and_is_not_tried_again(
    rig: Any, ask: Any, why: str
) -> None:
    result = asks(rig, ask)
    assert why in result.error
    assert (result.retryable, result.questions) == (False, ())


def test_a_node_may_not_answer_its_own_question(rig: Any) -> None:
    async def work(ctx: Any) -> dict[str, Any]:
        ctx.ask("?", to="ok")
        return {"ok": True}

    rig.node(work)
    assert "key 'ok' was set" in rig.run().error
    rig.node(lambda ctx: ctx.ask("?", to="ok") and {"ok": None}, "none")
    assert rig.run("none").error is None


def test_a_failed_attempt_asks_nothing(rig: Any) -> None:
    async def work(ctx: Any) -> None:
        ctx.ask("?")
        raise ValueError("broken")

    rig.node(work)
    result = rig.run()
    assert (result.error, result.questions) == ("broken", ())


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({}, "$"),
        ("urgent", "$"),
        ({"urgent": 1}, "$.urgent"),
        ({"urgent": True, "tags": ["a", 2]}, "$.tags[1]"),
        (b"bytes", "$"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_with_the_path(value: Any, path: str) -> None:
    schema = encode_schema(TICKET)
    with pytest.raises(InvalidAnswer) as refused:
        check_answer(schema, raw(value))
    assert refused.value.path == path
    check_answer(schema, raw({"urgent": True, "tags": ["a"], "more": None}))


def test_a_refused_answer_is_not_repeated_at_length(rig: Any) -> None:
    with pytest.raises(InvalidAnswer) as refused:
        check_answer(encode_schema({"type": "boolean"}), raw("x" * 100_000))
    assert len(str(refused.value)) < 1_000


def test_a_schema_is_bounded(rig: Any) -> None:
    with pytest.raises(ValueTooLarge):
        encode_schema({"description": "x" * ANSWER_SCHEMA_BYTES_MAX})
    with pytest.raises(InvalidInput):
        encode_schema({"enum": [float("nan")]})


def test_equal_answers_have_equal_digests_whatever_the_order_of_their_keys() -> None:
    one, other = raw({"a": 1, "b": {"c": 2, "d": 3}}), raw({"b": {"d": 3, "c": 2}, "a": 1})
    assert answer_digest(one) == answer_digest(other)
    assert answer_digest(one) != answer_digest(raw({"a": 1, "b": {"c": 2, "d": 4}}))


def test_question_ids_are_read_back_and_nothing_else_is() -> None:
    for name in ("session_1", "a:q1", "a:q"):
        assert split_question_id(question_id(name, 12)) == (name, 12)
    for other in ("", ":q1", "a:q", "a:q01", "a:q-1", "a:q\u0661", "a:q99999999999", "a", None, 7):
        assert split_question_id(other) is None
