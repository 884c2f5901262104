"""Values: what is stored, what is converted at once, and what is refused with its path."""

import contextlib
import dataclasses
import enum
import math
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.protocol.errors import InvalidValue, StoreCorrupt, ValueTooLarge
from greenroom.protocol.limits import VALUE_DEPTH_MAX
from greenroom.protocol.values import decode_value, encode_value, payload_digest, to_storable

zones = st.sampled_from(
    [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=11))]
)
moments = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - the strategy takes its bounds without a zone
    max_value=datetime(9998, 12, 31),  # noqa: DTZ001
    timezones=zones,
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.binary(max_size=20)
    | moments
)
converted = st.uuids() | st.decimals(allow_nan=False) | st.dates()
hashables = scalars | st.tuples(st.integers(0, 9), st.text("ab", max_size=2))
storables = st.recursive(
    scalars | converted | st.frozensets(hashables, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(texts, inner, max_size=4)
    ),
    max_leaves=15,
)


def same(left: Any, right: Any) -> bool:
    """Equal in type too, so that 1 and True and 1.0 are told apart."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


@settings(max_examples=300, deadline=None)
@given(storables)
def test_a_value_comes_back_as_its_normal_form_and_encodes_to_the_same_bytes(value: Any) -> None:
    raw = encode_value(value)
    assert same(decode_value(raw), to_storable(value))
    assert encode_value(decode_value(raw)) == raw


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(texts, scalars, max_size=6))
def test_the_short_way_and_the_careful_way_give_the_same_bytes(value: dict[str, Any]) -> None:
    assert encode_value(value) == encode_value(OrderedDict(value))


@settings(max_examples=200, deadline=None)
@given(st.sets(hashables, max_size=6), st.randoms(use_true_random=False))
def test_equal_sets_have_equal_bytes_whatever_their_history(items: set[Any], random: Any) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)
    assert encode_value(items) == encode_value(set(shuffled))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_bytes_that_are_no_value_are_reported_as_corrupt(raw: bytes) -> None:
    with contextlib.suppress(StoreCorrupt):
        decode_value(raw)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Kind(enum.StrEnum):
    BUG = "bug"


@dataclasses.dataclass
class Ticket:
    title: str
    tags: tuple[str, ...]


class Label(msgspec.Struct, rename="camel"):
    label_name: str


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset(), []),
        (Ticket("t", ("a",)), {"title": "t", "tags": ["a"]}),
        ({"label": Label("ui")}, {"label": {"label_name": "ui"}}),
        (Point(1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Decimal("1.50"), "1.50"),
        (date(2026, 1, 2), "2026-01-02"),
        ([Colour.RED, Level.HIGH, Kind.BUG], ["red", 3, "bug"]),
        ({Kind.BUG: 1}, {"bug": 1}),
        (
            datetime(2026, 1, 2, 12, tzinfo=timezone(timedelta(hours=2))),
            datetime(2026, 1, 2, 10, tzinfo=UTC),
        ),
        (-(2**63), -(2**63)),
        (2**64 - 1, 2**64 - 1),
        (b"\xff\x00", b"\xff\x00"),
        (-0.0, -0.0),
    ],
)
def test_a_value_is_converted_at_once_to_its_documented_form(value: Any, stored: Any) -> None:
    assert same(decode_value(encode_value(value)), stored)
    assert same(to_storable(value), stored)


NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - it is refused for having no zone


def looped() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "path", "why"),
    [
        (math.nan, "$", "finite"),
        ({"scores": [1.0, math.inf]}, "$.scores[1]", "finite"),
        ({"n": 2**64}, "$.n", "outside"),
        ({"n": [-(2**63) - 1]}, "$.n[0]", "outside"),
        ({"a": {1: 2}}, "$.a", "only str keys"),
        ({"a": {None: 2}}, "$.a", "only str keys"),
        ({"two words": ["\ud800"]}, "$['two words'][0]", "surrogate"),
        ({"\udfff": 1}, "$['\\udfff']", "surrogate"),
        ({"tickets": [{}, {"due": NAIVE}]}, "$.tickets[1].due", "time zone"),
        ({"x": object()}, "$.x", "builtins.object cannot be stored"),
        ({"x": bytearray(b"1")}, "$.x", "use bytes"),
        ([Ticket("t", (math.nan,))], "$[0].tags[0]", "finite"),  # type: ignore[arg-type]
        ((lambda: None), "$", "cannot be stored"),
        (Ticket, "$", "cannot be stored"),
        ({"gen": iter([1])}, "$.gen", "cannot be stored"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_path(value: Any, path: str, why: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        encode_value(value)
    assert caught.value.path == path
    assert why in caught.value.why


def nested(depth: int) -> Any:
    value: Any = 1
    for at in range(depth):
        value = [value] if at % 2 else {"a": value}
    return value


def test_nesting_is_bounded_and_a_value_inside_itself_is_refused() -> None:
    deepest = nested(VALUE_DEPTH_MAX)
    assert decode_value(encode_value(deepest)) == deepest
    for value in (nested(VALUE_DEPTH_MAX + 1), looped()):
        with pytest.raises(InvalidValue, match="64 deep"):
            encode_value(value)


def test_a_value_over_the_limit_is_refused_with_its_size() -> None:
    assert len(encode_value("x" * 1000, limit=1003)) == 1003
    with pytest.raises(ValueTooLarge) as caught:
        encode_value("x" * 1000, "$.body", limit=1002)
    assert (caught.value.path, caught.value.size, caught.value.limit) == ("$.body", 1003, 1002)


def test_the_normal_form_shares_nothing_with_the_original() -> None:
    original: dict[str, Any] = {"list": [1], "dict": {}}
    copy = to_storable(original)
    original["list"].append(2)
    original["dict"]["a"] = 1
    assert copy == {"list": [1], "dict": {}}


def test_the_digest_tells_payloads_apart_in_16_bytes() -> None:
    one, other = encode_value({"a": 1}), encode_value({"a": 2})
    assert len(payload_digest(one)) == 16
    assert payload_digest(one) == payload_digest(bytes(one)) != payload_digest(other)
