"""The report is readable in a terminal and in a pipe, and its verdict follows its numbers."""

import io

import msgspec
import pytest
from rich.console import Console

from greenroom.actors.host.demo.report import DemoReport, show_report

REPORT = DemoReport(
    accepted=51,
    rejected=6,
    duplicates=12,
    completed=51,
    ended_otherwise=0,
    lost=0,
    repeated_steps=0,
    stream_restarts=1,
    recovered=17,
    elapsed_s=6.21,
    unfinished_at_kill=17,
    in_flight_at_kill=6,
    committed_before_kill=180,
    entered_after_kill=70,
    steps=400,
    by_entry_point={"api": 3, "digest": 48, "github": 48},
    completed_by_entry_point={"api": 3, "digest": 48, "github": 48},
    digest={"executions": 48, "labels": {"bug": 12, "documentation": 9}},
    goal={"overall_progress": 1.0},
    wrong=[],
    pids=(4001, 4002),
    store="/anywhere",
)


def _shown(report: DemoReport, *, terminal: bool, width: int = 80) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width)
    show_report(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_pipe_gets_plain_text_with_every_number() -> None:
    text = _shown(REPORT, terminal=False)
    assert "\x1b" not in text
    for part in ("51 accepted", "0 lost", "4001", "4002", "Labels given: bug 12", "100%", "PROVED"):
        assert part in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_terminal_gets_the_same_words() -> None:
    assert "PROVED" in _shown(REPORT, terminal=True)


@pytest.mark.parametrize(
    "change",
    [
        {"lost": 1},
        {"ended_otherwise": 3},
        {"repeated_steps": 2},
        {"wrong": ["[an] answer was 500"]},
    ],
)
def test_what_was_not_proved_is_said(change: dict[str, object]) -> None:
    report = msgspec.structs.replace(REPORT, **change)
    assert not report.proved
    text = _shown(report, terminal=False)
    assert "FAILED" in text
    assert all(wrong in text for wrong in report.wrong)


def test_what_ended_otherwise_is_not_called_lost() -> None:
    report = msgspec.structs.replace(REPORT, completed=48, ended_otherwise=3)
    text = _shown(report, terminal=False)
    assert "48 completed, 3 ended otherwise, 0 lost" in text
    assert report.result()["lost"] == 3  # a program gets one number for all that has not completed


def test_the_result_has_exactly_the_promised_keys() -> None:
    assert list(REPORT.result()) == [
        "accepted",
        "rejected",
        "duplicates",
        "completed",
        "lost",
        "repeated_steps",
        "stream_restarts",
        "recovered",
        "elapsed_s",
    ]


def test_an_empty_goal_and_digest_are_left_out() -> None:
    text = _shown(msgspec.structs.replace(REPORT, goal={}, digest={}), terminal=False)
    assert "Goal" not in text
    assert "Labels" not in text
