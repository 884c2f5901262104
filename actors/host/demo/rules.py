"""How the agent judges: rules over words, paths and who wrote. Pure functions on plain data."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

Subject = dict[str, Any]

SIMILAR: Final = 0.6
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
_INSIDERS: Final = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})


def event_of(headers: Mapping[str, str], payload: Mapping[str, Any]) -> str:
    """The event's name: from the header, else from what the payload holds."""
    named = headers.get("x-github-event")
    if named:
        return named
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
    repository = payload.get("repository") or {}
    organization = payload.get("organization") or {}
    return str(repository.get("full_name") or organization.get("login") or "unknown")


def issue_subject(payload: Mapping[str, Any]) -> Subject:
    """What matters of an issue or of a comment on one; the newest text is `text`."""
    issue, comment = payload["issue"], payload.get("comment")
    said = comment or issue
    return {
        "repository": repository_of(payload),
        "action": payload.get("action"),
        "number": issue["number"],
        "title": issue["title"],
        "text": said.get("body") or "",
        "author": said["user"]["login"],
        "association": said.get("author_association") or "NONE",
        "labels": [label["name"] for label in issue.get("labels", [])],
        "assignees": [user["login"] for user in issue.get("assignees", [])],
        "open": issue.get("state", "open") == "open",
        "comment": comment is not None,
        "paths": [],
    }


def push_subject(payload: Mapping[str, Any]) -> Subject:
    """What matters of a push: its branch, messages and paths."""
    commits = payload.get("commits", [])
    messages = [str(commit.get("message", "")) for commit in commits]
    return {
        "repository": repository_of(payload),
        "action": "deleted" if payload.get("deleted") else "pushed",
        "number": None,
        "title": f"{len(commits)} commits to {payload.get('ref', '')}",
        "text": "\n".join(messages),
        "author": (payload.get("pusher") or {}).get("name", "unknown"),
        "association": "MEMBER",
        "labels": [],
        "assignees": [],
        "open": True,
        "comment": False,
        "paths": sorted(
            {
                path
                for commit in commits
                for change in ("added", "removed", "modified")
                for path in commit.get(change, [])
            }
        ),
    }


def notice_subject(event: str, payload: Mapping[str, Any]) -> Subject:
    """What matters of everything else: a title, and a text where there is one."""
    about = payload.get(event) if isinstance(payload.get(event), dict) else {}
    assert about is not None
    stars = (payload.get("repository") or {}).get("stargazers_count", 0)
    title = {
        "star": f"{stars} stars",
        "ping": str(payload.get("zen", "")),
        "release": about.get("name") or about.get("tag_name") or "",
        "milestone": about.get("title") or "",
        "label": about.get("name") or "",
    }.get(event, event)
    return {
        "repository": repository_of(payload),
        "action": payload.get("action"),
        "number": about.get("number"),
        "title": str(title),
        "text": str(about.get("body") or about.get("description") or ""),
        "author": (payload.get("sender") or {}).get("login", "unknown"),
        "association": "NONE",
        "labels": [],
        "assignees": [],
        "open": True,
        "comment": False,
        "paths": [],
    }


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
        found.add({"release": "announcement", "ping": "setup", "star": "thanks"}.get(event, "plan"))
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
