"""The agent's judgement, on the package's own payloads and on made-up texts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.host.demo import rules
from greenroom.actors.host.demo.payloads import own_payloads
from greenroom.protocol.limits import VALUE_BYTES_MAX
from greenroom.protocol.values import encode_value

PAYLOADS = {payload.name: payload for payload in own_payloads()}


def _subject(name: str) -> tuple[str, dict[str, Any]]:
    payload = PAYLOADS[name]
    body = payload.json()
    event = rules.event_of({}, body)
    match rules.kind_of(event):
        case "issue":
            return event, rules.issue_subject(body)
        case "push":
            return event, rules.push_subject(body)
        case _:
            return event, rules.notice_subject(event, body)


@pytest.mark.parametrize("name", sorted(PAYLOADS))
def test_the_event_is_known_without_its_header(name: str) -> None:
    assert rules.event_of({}, PAYLOADS[name].json()) == PAYLOADS[name].event
    assert rules.event_of({"x-github-event": "other"}, PAYLOADS[name].json()) == "other"


@pytest.mark.parametrize(
    ("name", "labels", "assignee"),
    [
        ("issues.00.json", ["bug"], "core-team"),
        ("issues.01.json", ["bug", "needs-information"], "core-team"),
        ("issues.02.json", ["enhancement"], "pia-sol"),
        ("issues.03.json", ["documentation"], "docs-team"),
        ("issues.04.json", ["performance"], "core-team"),
        ("issues.05.json", ["security"], "mara-vance"),
        ("push.00.json", ["code", "documentation", "tests"], "mara-vance"),
        ("release.00.json", ["announcement"], None),
        ("star.00.json", ["thanks"], None),
        ("ping.00.json", ["setup"], None),
        ("label.00.json", ["plan"], None),
        ("milestone.00.json", ["plan"], None),
    ],
)
def test_labels_and_assignee_come_from_what_the_payload_says(
    name: str, labels: list[str], assignee: str | None
) -> None:
    event, subject = _subject(name)
    assert rules.labels_for(event, subject) == labels
    assert rules.assignee_for(subject, labels) == assignee


def test_a_second_report_of_one_fault_is_found_by_its_title() -> None:
    _, first = _subject("issues.00.json")
    _, second = _subject("issues.01.json")
    _, other = _subject("issues.02.json")
    known = {str(one["number"]): rules.fingerprint(one["title"]) for one in (first, other)}
    found = rules.find_similar(second["number"], rules.fingerprint(second["title"]), known)
    assert found is not None
    assert found[0] == first["number"]


def test_an_issue_is_no_duplicate_of_itself() -> None:
    words = rules.fingerprint("Crash when the table is empty")
    assert rules.find_similar(7, words, {"7": words}) is None


def test_replies_are_drafted_for_open_issues_only() -> None:
    event, subject = _subject("issues.05.json")
    reply = rules.reply_for(event, subject, ["security"], "mara-vance", 41)
    assert reply is not None
    assert "#41" in reply
    assert "in private" in reply
    assert rules.reply_for(event, {**subject, "open": False}, [], None, None) is None
    assert rules.reply_for("star", subject, [], None, None) is None


@given(st.text(max_size=200), st.text(max_size=200))
def test_similarity_is_a_symmetric_share_and_one_for_equal_texts(one: str, other: str) -> None:
    first, second = rules.fingerprint(one), rules.fingerprint(other)
    assert rules.similarity(first, second) == rules.similarity(second, first)
    assert 0 <= rules.similarity(first, second) <= 1
    assert rules.similarity(first, first) == (1 if first else 0)


def test_payloads_with_missing_parts_are_read_all_the_same() -> None:
    bare = {"zen": "Keep it.", "organization": {"login": "org"}}
    assert rules.repository_of(bare) == "org"
    assert rules.notice_subject("ping", bare)["title"] == "Keep it."
    assert rules.push_subject({"commits": []})["paths"] == []
    assert rules.labels_for("push", rules.push_subject({"commits": []})) == []


@pytest.mark.parametrize("event", sorted({payload.event for payload in PAYLOADS.values()}))
def test_a_payload_without_what_the_event_is_about_is_unknown(event: str) -> None:
    found = rules.event_of({"x-github-event": event}, {})
    assert found == ("unknown" if event not in ("ping", "star") else event)
    assert rules.labels_for("unknown", rules.notice_subject("unknown", {})) == ["needs-information"]


_KEYS = st.sampled_from(
    [
        *("issue", "comment", "commits", "release", "milestone", "label", "repository", "user"),
        *("organization", "sender", "login", "title", "body", "name", "number", "labels", "zen"),
        *("assignees", "state", "added", "pusher", "ref", "action", "message"),
    ]
)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=15,
)


@given(st.sampled_from(["issues", "issue_comment", "push", "release", "ping", "x"]), st.data())
def test_any_object_is_triaged_to_the_end(event: str, data: st.DataObject) -> None:
    payload = data.draw(st.dictionaries(_KEYS, _ANYTHING, max_size=5))
    event = rules.event_of({"x-github-event": event}, payload)
    read = {"issue": rules.issue_subject, "push": rules.push_subject}.get(rules.kind_of(event))
    subject = read(payload) if read else rules.notice_subject(event, payload)
    encode_value(subject)
    labels = rules.labels_for(event, subject)
    rules.reply_for(event, subject, labels, rules.assignee_for(subject, labels), None)


def test_a_subject_stays_small_whatever_the_payload_holds() -> None:
    long = "x" * 1_000_000
    issue = {"title": long, "body": long, "labels": [{"name": long}] * 1_000}
    push = {"commits": [{"message": long, "added": [f"{number}{long}" for number in range(999)]}]}
    assert len(encode_value(rules.issue_subject({"issue": issue}))) < VALUE_BYTES_MAX / 4
    assert len(encode_value(rules.push_subject(push))) < VALUE_BYTES_MAX / 4
