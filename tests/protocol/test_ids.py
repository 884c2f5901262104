"""Ids: one rule for all, and messages that say how to mend."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.protocol.errors import InvalidId
from greenroom.protocol.ids import new_execution_id, validate_id


@pytest.mark.parametrize("value", ["a", "A-1_b.c:d", "x" * 128, "session_20260102_030405_00ff00ff"])
def test_a_good_id_is_returned_unchanged(value: str) -> None:
    assert validate_id("node", value) == value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "empty"),
        ("x" * 129, "129 characters"),
        ("a/b", "contains '/'"),
        ("a\\b", "contains"),
        ("a b", "contains ' '"),
        ("a\n", "contains '\\n'"),
        ("a..b", "'..'"),
        ("..", "'..'"),
        ("\u00e9", "contains"),
        ("\x00", "contains"),
        (7, "must be a str, not int"),
        (None, "must be a str, not NoneType"),
    ],
)
def test_a_bad_id_is_refused_and_the_message_says_why(value: object, why: str) -> None:
    with pytest.raises(InvalidId, match="entry point id") as caught:
        validate_id("entry point", value)
    assert why in str(caught.value)


@given(st.text(max_size=140))
def test_only_the_documented_characters_pass(value: str) -> None:
    good = re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", value) is not None and ".." not in value
    try:
        validate_id("node", value)
        passed = True
    except InvalidId:
        passed = False
    assert passed == good


def test_an_execution_id_is_made_of_the_given_clock_and_randomness() -> None:
    made = new_execution_id(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "0a1b2c3d")
    assert made == "session_20260102_030405_0a1b2c3d"
    assert validate_id("execution", made) == made


@pytest.mark.parametrize("random8", ["", "0A1B2C3D", "0a1b2c3", "0a1b2c3d4", "../../.."])
def test_an_execution_id_needs_eight_hex_digits(random8: str) -> None:
    with pytest.raises(InvalidId, match="8 lower-case hex digits"):
        new_execution_id(datetime(2026, 1, 2, tzinfo=UTC), random8)
