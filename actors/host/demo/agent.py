"""The triage agent: its graph, its functions, and the runtime that runs it.

classify -> route -> extract_issue -> find_duplicates -+-> decide -> draft_reply
                  |-> extract_push --------------------|
                  '-> extract_notice ------------------'
digest   (started by the event that a webhook's execution has completed)
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from greenroom.actors.host.create import create_agent_runtime
from greenroom.actors.host.demo import rules
from greenroom.actors.host.demo.client import PATH
from greenroom.actors.host.demo.ledger import Ledger
from greenroom.actors.host.runtime import AgentRuntime
from greenroom.actors.nodes.context import NodeContext
from greenroom.protocol.config import AgentRuntimeConfig, WebhookRoute
from greenroom.protocol.entry_point import EntryPointSpec, TriggerType
from greenroom.protocol.events import EventType
from greenroom.protocol.goal import Constraint, Goal, SuccessCriterion
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.isolation import IsolationLevel, StateScope

DIGEST_KEY: Final = "digest"
TITLES_KEPT_MAX: Final = 200
_CONCURRENT: Final = 6

Fields = dict[str, Any]


class TriageFunctions:
    """The callables of the graph's function nodes. Each enters itself into the ledger first.

    `latency_s` is what a language model would take to draft a reply.
    """

    def __init__(self, ledger: Ledger, latency_s: float) -> None:
        self._ledger = ledger
        self._latency_s = latency_s

    def by_name(self) -> dict[str, Callable[..., Any]]:
        """Every function under the name by which the graph and `update` call it."""
        return {
            "classify": self.classify,
            "extract_issue": self.extract_issue,
            "extract_push": self.extract_push,
            "extract_notice": self.extract_notice,
            "find_duplicates": self.find_duplicates,
            "decide": self.decide,
            "draft_reply": self.draft_reply,
            "digest": self.digest,
            "count_labels": count_labels,
        }

    def _enter(self, ctx: NodeContext) -> None:
        self._ledger.enter(ctx.execution_id, ctx.node_id, ctx.visit)

    def classify(self, ctx: NodeContext, payload: Fields, headers: Fields) -> Fields:
        """Name the event, and the way that it takes through the graph."""
        self._enter(ctx)
        event = rules.event_of(headers, payload)
        return {"event": event, "kind": rules.kind_of(event)}

    def extract_issue(self, ctx: NodeContext, payload: Fields) -> Fields:
        """Read an issue, or a comment on one."""
        self._enter(ctx)
        return {"subject": rules.issue_subject(payload)}

    def extract_push(self, ctx: NodeContext, payload: Fields) -> Fields:
        """Read a push."""
        self._enter(ctx)
        return {"subject": rules.push_subject(payload)}

    def extract_notice(self, ctx: NodeContext, payload: Fields, event: str) -> Fields:
        """Read a release, milestone, label, star or ping."""
        self._enter(ctx)
        return {"subject": rules.notice_subject(event, payload)}

    async def find_duplicates(self, ctx: NodeContext, subject: Fields) -> Fields:
        """Compare the title with those of the repository's other issues, and add it to them.

        Read, then written: only under `synchronized` does no title get lost.
        """
        self._enter(ctx)
        if subject["number"] is None:
            return {"duplicate_of": None}
        key = f"titles:{subject['repository']}"
        known: dict[str, list[str]] = await ctx.read(key, {}, StateScope.GLOBAL)
        number, words = int(subject["number"]), rules.fingerprint(subject["title"])
        similar = rules.find_similar(number, words, known)
        known.pop(str(number), None)
        known[str(number)] = words
        kept = list(known.items())[-TITLES_KEPT_MAX:]
        await ctx.write(key, dict(kept), StateScope.GLOBAL)
        return {"duplicate_of": similar[0] if similar else None}

    def decide(self, ctx: NodeContext, event: str, subject: Fields) -> Fields:
        """Choose labels and who takes it."""
        self._enter(ctx)
        labels = rules.labels_for(event, subject)
        return {"labels": labels, "assignee": rules.assignee_for(subject, labels)}

    async def draft_reply(
        self,
        ctx: NodeContext,
        event: str,
        subject: Fields,
        labels: list[str],
        assignee: str | None = None,
        duplicate_of: int | None = None,
    ) -> Fields:
        """Draft the answer, as slowly as a model would."""
        self._enter(ctx)
        await asyncio.sleep(self._latency_s)
        return {"reply": rules.reply_for(event, subject, labels, assignee, duplicate_of)}

    async def digest(self, ctx: NodeContext, event: Fields) -> Fields:
        """Count what was done, by label, over all webhooks."""
        self._enter(ctx)
        labels = event["data"]["output"]["labels"]
        await ctx.update(DIGEST_KEY, "count_labels", labels, scope=StateScope.GLOBAL)
        return {"counted": len(labels)}


def count_labels(counts: dict[str, Any] | None, labels: list[str]) -> dict[str, Any]:
    """Add one execution to the digest: how many there were, and how many of each label."""
    found = counts or {"executions": 0, "labels": {}}
    by_label = dict(found["labels"])
    for label in labels:
        by_label[label] = by_label.get(label, 0) + 1
    return {"executions": found["executions"] + 1, "labels": by_label}


def triage_graph() -> GraphSpec:
    """The graph above."""
    return GraphSpec(
        id="github_triage",
        goal_id="triage",
        entry_node="classify",
        terminal_nodes=["draft_reply", "digest"],
        nodes=[
            NodeSpec(
                id="classify", input_keys=["payload", "headers"], output_keys=["event", "kind"]
            ),
            NodeSpec(
                id="route",
                node_type="router",
                input_keys=["kind"],
                route_on="kind",
                routes={
                    "issue": "extract_issue",
                    "push": "extract_push",
                    "default": "extract_notice",
                },
            ),
            NodeSpec(id="extract_issue", input_keys=["payload"], output_keys=["subject"]),
            NodeSpec(id="extract_push", input_keys=["payload"], output_keys=["subject"]),
            NodeSpec(id="extract_notice", input_keys=["payload", "event"], output_keys=["subject"]),
            NodeSpec(
                id="find_duplicates",
                input_keys=["subject"],
                output_keys=["duplicate_of"],
                nullable_output_keys=["duplicate_of"],
            ),
            NodeSpec(
                id="decide",
                input_keys=["event", "subject"],
                output_keys=["labels", "assignee"],
                nullable_output_keys=["assignee"],
            ),
            NodeSpec(
                id="draft_reply",
                input_keys=["event", "subject", "labels", "assignee", "duplicate_of"],
                output_keys=["reply"],
                nullable_output_keys=["reply"],
            ),
            NodeSpec(id="digest", input_keys=["event"], output_keys=["counted"]),
        ],
        edges=[
            EdgeSpec(id=f"{source}-{target}", source=source, target=target)
            for source, target in (
                ("classify", "route"),
                ("extract_issue", "find_duplicates"),
                ("find_duplicates", "decide"),
                ("extract_push", "decide"),
                ("extract_notice", "decide"),
                ("decide", "draft_reply"),
            )
        ],
    )


def triage_goal() -> Goal:
    """Nothing may fail."""
    return Goal(
        id="triage",
        name="Triage what GitHub reports",
        description="Every report gets its labels, and every issue a draft of an answer.",
        success_criteria=[
            SuccessCriterion(
                id="answered",
                description="every accepted report is triaged to the end",
                metric="success_rate",
                target="95%",
            )
        ],
        constraints=[
            Constraint(id="private", description="nothing is sent anywhere: replies stay drafts")
        ],
    )


def triage_entry_points() -> list[EntryPointSpec]:
    """Signed webhooks, calls from the host, and the event that a webhook has been dealt with."""
    triaging = [
        EntryPointSpec(
            id=id_,
            name=name,
            entry_node="classify",
            trigger_type=trigger_type,
            isolation_level=IsolationLevel.SYNCHRONIZED,
            max_concurrent=_CONCURRENT,
        )
        for id_, name, trigger_type in (
            ("github", "GitHub webhooks", TriggerType.WEBHOOK),
            ("api", "calls from the host", TriggerType.API),
        )
    ]
    return [
        *triaging,
        EntryPointSpec(
            id="digest",
            name="completed webhooks",
            entry_node="digest",
            trigger_type=TriggerType.EVENT,
            trigger_config={
                "event_types": [EventType.EXECUTION_COMPLETED.value],
                "filter_stream": "github",
            },
            max_concurrent=_CONCURRENT,
        ),
    ]


def build_runtime(store: Path, ledger: Ledger, *, secret: str, latency_s: float) -> AgentRuntime:
    """The runtime of the demo, not started; its webhook server takes a free port of 127.0.0.1."""
    route = WebhookRoute(source_id="github_hook", path=PATH, secret=secret, entry_point="github")
    return create_agent_runtime(
        triage_graph(),
        triage_goal(),
        store,
        triage_entry_points(),
        config=AgentRuntimeConfig(webhook_port=0, webhook_routes=[route]),
        functions=TriageFunctions(ledger, latency_s).by_name(),
    )
