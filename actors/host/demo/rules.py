"""How the agent judges: rules over words, paths and who wrote. Pure functions on plain data."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

Subject = dict[str, Any]

SIMILAR: Final = 0.6
# A webhook may hold anything; a subject is a value of the execution and stays far below its limit.
_NAME_CHARS: Final = 200
_TITLE_CHARS: Final = 500
_TEXT_CHARS: Final = 20_000
_NAMES_KEPT_MAX: Final = 100
_PATHS_KEPT_MAX: Final = 500
_WORD: Final = re.compile(r"[a-z][a-z0-9_]+")
_VERSION: Final = re.compile(r"\b\d+\.\d+(\.\d+)?\b")
_STOP: Final = frozenset(
    {
        "the",
        "and",
        "for",
        "with",
        "when",
        "was",
        "are",
        "not",
        "this",
        "that",
        "from",
        "have",
        "has",
        "into",
        "its",
        "can",
        "could",
        "would",
        "will",
    }
)
_KINDS: Final = {"issues": "issue", "issue_comment": "issue", "push": "push"}
# Where an event's subject is, and what it has to be.
_ABOUT: Final[dict[str, tuple[str, type]]] = {
    "issues": ("issue", dict),
    "issue_comment": ("issue", dict),
    "push": ("commits", list),
    "release": ("release", dict),
    "milestone": ("milestone", dict),
    "label": ("label", dict),
}
_WORDS_OF: Final = {
    "security": {"token", "leak", "vulnerability", "secret", "password", "cve", "injection"},
    "bug": {"crash", "error", "exception", "traceback", "broken", "bug", "fail", "wrong"},
    "performance": {"slow", "memory", "performance", "timeout", "faster", "cache"},
    "documentation": {"typo", "readme", "doc", "documentation", "spelling", "guide"},
    "enhancement": {"add", "feature", "support", "export"},
}
_PATHS: Final = (
    ("documentation", re.compile(r"(^|/)docs?/|\.(md|rst|txt)$", re.IGNORECASE)),
    ("tests", re.compile(r"(^|/)tests?/|test_[^/]*$")),
    ("build", re.compile(r"(^|/)\.github/|(^|/)(Makefile|Dockerfile)$|\.(toml|lock|cfg)$")),
)
_TEAMS: Final = {
    "security": "security-team",
    "bug": "core-team",
    "performance": "core-team",
    "documentation": "docs-team",
    "enhancement": "product-team",
    "question": "support-team",
}
_LABEL_OF: Final = {
    "release": "announcement",
    "ping": "setup",
    "star": "thanks",
    "unknown": "needs-information",
}
_INSIDERS: Final = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})


def event_of(headers: Mapping[str, str], payload: Mapping[str, Any]) -> str:
    """The event's name: from the header, else from what the payload holds; `unknown` where the
    payload has not what the event is about.
    """
    named = headers.get("x-github-event") or _event_in(payload)
    field, kind = _ABOUT.get(named, ("", object))
    return named if isinstance(payload.get(field), kind) else "unknown"


def _event_in(payload: Mapping[str, Any]) -> str:
    if "comment" in payload:
        return "issue_comment"
    for key, event in (("issue", "issues"), ("commits", "push"), ("zen", "ping")):
        if key in payload:
            return event
    for key in ("release", "milestone", "label"):
        if key in payload:
            return key
    return "star" if "starred_at" in payload else "unknown"


def kind_of(event: str) -> str:
    """`issue`, `push` or `notice`: which way the event takes through the graph."""
    return _KINDS.get(event, "notice")


def repository_of(payload: Mapping[str, Any]) -> str:
    """The full name of the repository; the organisation's login when there is none."""
    full_name = _text(_object(payload.get("repository")).get("full_name"), _NAME_CHARS)
    login = _text(_object(payload.get("organization")).get("login"), _NAME_CHARS)
    return full_name or login or "unknown"


def issue_subject(payload: Mapping[str, Any]) -> Subject:
    """What matters of an issue or of a comment on one; the newest text is `text`."""
    issue, comment = _object(payload.get("issue")), _object(payload.get("comment"))
    said = comment or issue
    return {
        "repository": repository_of(payload),
        "action": _text(payload.get("action"), _NAME_CHARS) or None,
        "number": _number(issue.get("number")),
        "title": _text(issue.get("title"), _TITLE_CHARS),
        "text": _text(said.get("body"), _TEXT_CHARS),
        "author": _text(_object(said.get("user")).get("login"), _NAME_CHARS) or "unknown",
        "association": _text(said.get("author_association"), _NAME_CHARS) or "NONE",
        "labels": _names(issue.get("labels"), "name"),
        "assignees": _names(issue.get("assignees"), "login"),
        "open": issue.get("state", "open") == "open",
        "comment": bool(comment),
        "paths": [],
    }


def push_subject(payload: Mapping[str, Any]) -> Subject:
    """What matters of a push: its branch, messages and paths."""
    commits = [_object(commit) for commit in _list(payload.get("commits"))]
    messages = [_text(commit.get("message"), _TITLE_CHARS) for commit in commits]
    paths = {
        _text(path, _NAME_CHARS)
        for commit in commits
        for change in ("added", "removed", "modified")
        for path in _list(commit.get(change))
    }
    return {
        "repository": repository_of(payload),
        "action": "deleted" if payload.get("deleted") else "pushed",
        "number": None,
        "title": f"{len(commits)} commits to {_text(payload.get('ref'), _NAME_CHARS)}",
        "text": "\n".join(messages)[:_TEXT_CHARS],
        "author": _text(_object(payload.get("pusher")).get("name"), _NAME_CHARS) or "unknown",
        "association": "MEMBER",
        "labels": [],
        "assignees": [],
        "open": True,
        "comment": False,
        "paths": sorted(paths - {""})[:_PATHS_KEPT_MAX],
    }


def notice_subject(event: str, payload: Mapping[str, Any]) -> Subject:
    """What matters of everything else: a title, and a text where there is one."""
    about = _object(payload.get(event))
    stars = _number(_object(payload.get("repository")).get("stargazers_count")) or 0
    title = {
        "star": f"{stars} stars",
        "ping": payload.get("zen"),
        "release": about.get("name") or about.get("tag_name"),
        "milestone": about.get("title"),
        "label": about.get("name"),
    }.get(event, event)
    return {
        "repository": repository_of(payload),
        "action": _text(payload.get("action"), _NAME_CHARS) or None,
        "number": _number(about.get("number")),
        "title": _text(title, _TITLE_CHARS),
        "text": _text(about.get("body") or about.get("description"), _TEXT_CHARS),
        "author": _text(_object(payload.get("sender")).get("login"), _NAME_CHARS) or "unknown",
        "association": "NONE",
        "labels": [],
        "assignees": [],
        "open": True,
        "comment": False,
        "paths": [],
    }


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object, chars_max: int) -> str:
    return value[:chars_max] if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _names(value: object, field: str) -> list[str]:
    found = [_text(_object(one).get(field), _NAME_CHARS) for one in _list(value)]
    return [name for name in found if name][:_NAMES_KEPT_MAX]


def fingerprint(text: str) -> list[str]:
    """The words that carry meaning, in a simple base form, sorted: equal for equal meaning."""
    words = (_base(word) for word in _WORD.findall(text.lower()))
    return sorted({word for word in words if len(word) > 2 and word not in _STOP})


def similarity(one: Iterable[str], other: Iterable[str]) -> float:
    """The share of words that two fingerprints have in common, from 0 to 1."""
    first, second = set(one), set(other)
    return len(first & second) / len(first | second) if first | second else 0.0


def find_similar(
    number: int, print_: list[str], known: Mapping[str, list[str]]
) -> tuple[int, float] | None:
    """The most similar earlier issue and how similar it is, or None. Keys are issue numbers."""
    best: tuple[int, float] | None = None
    for key, other in known.items():
        share = similarity(print_, other)
        if int(key) != number and share >= SIMILAR and (best is None or share > best[1]):
            best = int(key), round(share, 3)
    return best


def labels_for(event: str, subject: Subject) -> list[str]:
    """The labels that words, paths and the event call for, with those that are there already."""
    words = set(fingerprint(f"{subject['title']} {subject['text']}"))
    found = set(subject["labels"])
    if kind_of(event) == "issue":
        found |= {label for label, hints in _WORDS_OF.items() if words & hints}
        if words & {"typo", "spelling"}:
            found.discard("bug")  # a spelling error is no error of the program
        if subject["text"].rstrip().endswith("?") and subject["association"] == "NONE":
            found.add("question")
        if "bug" in found and not subject["comment"] and not _VERSION.search(subject["text"]):
            found.add("needs-information")
    elif kind_of(event) == "push":
        found |= {label for label, form in _PATHS if any(map(form.search, subject["paths"]))}
        if any(not any(form.search(path) for _, form in _PATHS) for path in subject["paths"]):
            found.add("code")
    else:
        found.add(_LABEL_OF.get(event, "plan"))
    return sorted(found)


def assignee_for(subject: Subject, labels: list[str]) -> str | None:
    """Who takes it: who has it, an insider who wrote it, a newcomer who offers help, or a team."""
    if subject["assignees"]:
        return str(subject["assignees"][0])
    if subject["association"] in _INSIDERS:
        return str(subject["author"])
    if subject["association"].startswith("FIRST_TIME") and "pull request" in subject["text"]:
        return str(subject["author"])
    return next((team for label, team in _TEAMS.items() if label in labels), None)


def reply_for(
    event: str, subject: Subject, labels: list[str], assignee: str | None, duplicate_of: int | None
) -> str | None:
    """The draft of an answer, or None where nobody waits for one."""
    if kind_of(event) != "issue" or not subject["open"]:
        return None
    lines = [f"Hello @{subject['author']}, thank you for writing."]
    if duplicate_of is not None:
        lines.append(f"This looks like #{duplicate_of}; please have a look whether it is the same.")
    if "needs-information" in labels:
        lines.append("Which version do you use, and what did you expect instead?")
    if "security" in labels:
        lines.append("Please do not post more details here: we will contact you in private.")
    if labels:
        lines.append(f"Labels: {', '.join(labels)}.")
    if assignee is not None:
        lines.append(f"@{assignee} takes it from here.")
    return "\n".join(lines)


def _base(word: str) -> str:
    for ending in ("ies", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) > 2:
            stem = word[: -len(ending)]
            if ending == "ies":
                return stem + "y"
            # "crashes" loses both letters, "tables" only one.
            return stem if ending == "s" or stem.endswith(("sh", "ch", "x", "ss")) else stem + "e"
    return word
