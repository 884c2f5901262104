"""Payload files: the package's own, and those of a user."""

import json
from pathlib import Path

import pytest

from greenroom.actors.host.demo.payloads import load_payloads, own_payloads
from greenroom.protocol.errors import InvalidInput

EVENTS = {"issues", "issue_comment", "push", "ping", "star", "release", "label", "milestone"}


def test_the_package_brings_payloads_of_every_event() -> None:
    payloads = own_payloads()
    assert {payload.event for payload in payloads} == EVENTS
    assert all(payload.json()["sender"]["login"] for payload in payloads)


def test_files_are_loaded_by_name_and_named_after_their_event(tmp_path: Path) -> None:
    (tmp_path / "push.01.json").write_text("{}")
    (tmp_path / "issues.00.json").write_text('{"a": 1}')
    (tmp_path / "README.md").write_text("not a payload")
    found = load_payloads(tmp_path)
    assert [(one.name, one.event) for one in found] == [
        ("issues.00.json", "issues"),
        ("push.01.json", "push"),
    ]
    assert found[0].json() == {"a": 1}


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("issues.00.json", b"{", "is not JSON"),
        ("issues.00.json", b"\xff\xff", "is not JSON"),
        ("issues.00.json", b"[" * 100_000, "is not JSON"),
        ("issues.00.json", b"[]", "holds no JSON object"),
        ("issues.00.json", b"3", "holds no JSON object"),
        ("issues.00.json", b'"text"', "holds no JSON object"),
        ("issues.00.json", b'{"a": NaN}', "is not JSON"),
        ("issues.00.json", '{"a": 1}'.encode("utf-16"), "is not JSON"),
        ("issues.00.json", b'{"a": 99999999999999999999}', "cannot be an input"),
        ("issues.00.json", b'{"a":' * 90 + b"1" + b"}" * 90, "cannot be an input"),
        ("issues.00.json", b" " * 1_100_000, "has 1100000 bytes"),
        ("issues.00.json", b'{"a": [' + b"1.5," * 250_000 + b"1]}", "cannot be an input"),
        ("is\nsues.00.json", b"{}", "is not named"),
        ("is\u00e9.00.json", b"{}", "is not named"),
        ("issues.json", b"{}", "is not named"),
        ("issues.x.json", b"{}", "is not named"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=f"{name} {why}"):
        load_payloads(tmp_path)


def test_a_folder_without_payloads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no payloads"):
        load_payloads(tmp_path)
    with pytest.raises(InvalidInput, match="is not a folder"):
        load_payloads(tmp_path / "nothing")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "issues.00.json").mkdir()
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_payloads(tmp_path)


def test_own_payloads_are_in_the_public_format() -> None:
    for payload in own_payloads():
        body = payload.json()
        assert body["repository"]["full_name"] == "harborlight/tidewatch", payload.name
        assert json.loads(payload.body) == body
