"""Settings: defaults as documented, and a clear refusal of what cannot be used."""

import math
from typing import Any

import msgspec
import pytest

from greenroom.protocol.checkpoint import (
    DISABLED_CHECKPOINT_CONFIG,
    MINIMAL_CHECKPOINT_CONFIG,
    CheckpointConfig,
)
from greenroom.protocol.config import AgentRuntimeConfig, WebhookRoute
from greenroom.protocol.entry_point import EntryPointSpec, TriggerType
from greenroom.protocol.errors import InvalidConfig, InvalidId, InvalidInput
from greenroom.protocol.goal import Constraint, Goal, GoalStatus, SuccessCriterion
from greenroom.protocol.isolation import IsolationLevel


def test_the_defaults_of_the_runtime() -> None:
    config = AgentRuntimeConfig()
    assert msgspec.structs.asdict(config) == {
        "max_concurrent_executions": 100,
        "max_history": 1000,
        "execution_result_max": 1000,
        "execution_result_ttl_seconds": None,
        "event_log_max": 1_000_000,
        "event_log_ttl_seconds": None,
        "journal_record_max": 100_000,
        "journal_record_ttl_seconds": None,
        "webhook_host": "127.0.0.1",
        "webhook_port": 8080,
        "webhook_routes": [],
        "webhook_body_bytes_max": 1024 * 1024,
        "shutdown_timeout_s": 10.0,
        "uvloop": False,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_concurrent_executions", 0),
        ("max_concurrent_executions", True),
        ("max_history", -1),
        ("execution_result_max", 1.5),
        ("execution_result_ttl_seconds", -1),
        ("execution_result_ttl_seconds", "1 h"),
        ("execution_result_ttl_seconds", math.inf),
        ("event_log_max", 999),
        ("event_log_ttl_seconds", 0),
        ("journal_record_max", 99),
        ("journal_record_ttl_seconds", 0.5),
        ("webhook_port", "8080"),
        ("webhook_port", 65_536),
        ("webhook_host", ""),
        ("webhook_body_bytes_max", 0),
        ("webhook_routes", {}),
        ("webhook_routes", [1]),
        ("shutdown_timeout_s", -1),
        ("shutdown_timeout_s", math.nan),
        ("shutdown_timeout_s", 10**400),
        ("shutdown_timeout_s", None),
        ("uvloop", 1),
    ],
)
def test_a_bad_setting_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidConfig, match=field):
        AgentRuntimeConfig(**{field: value})


def test_routes_may_be_dicts_or_specs() -> None:
    first = {"source_id": "github", "path": "/github", "methods": ["post", "PUT"]}
    config = AgentRuntimeConfig(
        webhook_routes=[first, WebhookRoute(source_id="crm", path="/{team}", secret="s3cret")]
    )
    assert [route.source_id for route in config.routes] == ["github", "crm"]
    assert config.routes[0].methods == ("POST", "PUT")
    assert config.routes[0].delivery_headers == (
        "webhook-id",
        "X-GitHub-Delivery",
        "Idempotency-Key",
    )


def test_a_secret_is_never_shown() -> None:
    route = WebhookRoute(source_id="github", path="/github", secret="s3cret")
    config = AgentRuntimeConfig(webhook_routes=[route])
    for shown in (repr(route), str(route), repr(config), f"{route}", repr(list(config.routes))):
        assert "s3cret" not in shown
        assert "***" in shown


@pytest.mark.parametrize(
    ("route", "why"),
    [
        ({"path": "/x"}, "lacks"),
        ({"source_id": "a"}, "lacks"),
        ({"source_id": "a/b", "path": "/x"}, "webhook source id"),
        ({"source_id": "a", "path": "x"}, "start with '/'"),
        ({"source_id": "a", "path": "/x?y=1"}, "no query"),
        ({"source_id": "a", "path": "/x", "methods": []}, "methods"),
        ({"source_id": "a", "path": "/x", "methods": "POST"}, "methods"),
        ({"source_id": "a", "path": "/x", "methods": ["FETCH"]}, "FETCH"),
        ({"source_id": "a", "path": "/x", "secret": ""}, "secret"),
        ({"source_id": "a", "path": "/x", "entry_point": "a b"}, "entry point id"),
        ({"source_id": "a", "path": "/x", "delivery_headers": [""]}, "delivery_headers"),
        ({"source_id": "a", "path": "/x", "token": "t"}, "unknown keys"),
    ],
)
def test_a_bad_route_is_refused(route: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        AgentRuntimeConfig(webhook_routes=[route])


def test_two_routes_for_one_path_are_refused() -> None:
    routes = [
        {"source_id": "a", "path": "/x"},
        {"source_id": "b", "path": "/x", "methods": ["PUT"]},
        {"source_id": "a", "path": "/x"},
    ]
    assert len(AgentRuntimeConfig(webhook_routes=routes[:2]).routes) == 2
    with pytest.raises(InvalidConfig, match="both serve POST /x"):
        AgentRuntimeConfig(webhook_routes=routes)


def test_the_defaults_of_an_entry_point_and_text_for_its_enums() -> None:
    spec = EntryPointSpec(
        id="api", name="API", entry_node="a", trigger_type="api", isolation_level="isolated"
    )
    assert (spec.trigger, spec.isolation) == (TriggerType.API, IsolationLevel.ISOLATED)
    assert (spec.priority, spec.max_concurrent, spec.max_queued) == (0, 10, 1000)
    assert spec.idempotency_window_s == 24 * 3600
    plain = EntryPointSpec(id="api", entry_node="a")
    assert (plain.name, plain.trigger_type, plain.isolation_level) == ("api", "manual", "shared")
    assert plain.trigger_type is TriggerType.MANUAL


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"id": "a/b"}, "entry point id 'a/b'"),
        ({"entry_node": None}, "entry_node"),
        ({"trigger_type": "cron"}, "webhook, api, timer, event, manual"),
        ({"isolation_level": "none"}, "isolated, shared, synchronized"),
        ({"isolation_level": []}, "isolation_level"),
        ({"priority": 10**6}, "priority"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"max_queued": -1}, "max_queued"),
        ({"overflow": "drop_newest"}, "reject, block, drop_oldest"),
        ({"overflow": "drop_oldest", "max_queued": 0}, "there is none to drop"),
        ({"block_timeout_s": 1.0}, "needs overflow='block'"),
        ({"overflow": "block", "block_timeout_s": -1}, "block_timeout_s"),
        ({"rate_limit": 10}, "use a RateLimit"),
        ({"rate_limit": "10 per s"}, 'write "10/s"'),
        ({"rate_limit": "0/s"}, 'write "10/s"'),
        ({"idempotency_window_s": -1}, "idempotency_window_s"),
        ({"timeout_s": -1}, "timeout_s"),
        ({"timeout_s": "1"}, "timeout_s"),
        ({"timeout_s": float("inf")}, "timeout_s"),
        ({"trigger_config": []}, "trigger_config"),
        ({"trigger_type": "event", "trigger_config": {"event_type": []}}, "unknown keys"),
        ({"trigger_type": "event", "trigger_config": {"event_types": "x"}}, "event_types"),
        ({"trigger_type": "event", "trigger_config": {"filter_node": 1}}, "filter_node"),
        ({"trigger_type": "event", "trigger_config": {"include_own_events": 1}}, "include_own"),
    ],
)
def test_a_bad_entry_point_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises((InvalidConfig, InvalidId), match=why):
        EntryPointSpec(**{"id": "e", "entry_node": "a"} | fields)


def test_checkpoint_presets() -> None:
    assert CheckpointConfig().max_age_days == 7
    assert not MINIMAL_CHECKPOINT_CONFIG.checkpoint_on_node_start
    assert MINIMAL_CHECKPOINT_CONFIG.prune_every_n_nodes == 20
    assert not DISABLED_CHECKPOINT_CONFIG.enabled
    with pytest.raises(InvalidConfig, match="max_age_days"):
        CheckpointConfig(max_age_days=-1)
    with pytest.raises(InvalidConfig, match="enabled"):
        CheckpointConfig(enabled=None)  # type: ignore[arg-type]


def test_a_goal_succeeds_when_nine_tenths_of_the_weight_are_met() -> None:
    def goal(*criteria: tuple[float, bool]) -> Goal:
        return Goal(
            id="g",
            success_criteria=[
                SuccessCriterion(id=f"c{at}", weight=weight, met=met)
                for at, (weight, met) in enumerate(criteria)
            ],
        )

    assert not goal().is_success()
    assert not goal((0, True)).is_success()
    assert goal((0.9, True), (0.1, False)).is_success()
    assert not goal((0.5, True), (0.5, False)).is_success()


def test_the_prompt_of_a_goal_names_criteria_constraints_and_context() -> None:
    goal = Goal(
        id="triage",
        name="Triage",
        description="Label every ticket.",
        status="active",
        success_criteria=[SuccessCriterion(id="c", description="all labelled")],
        constraints=[
            Constraint(id="h", description="no replies to bots"),
            Constraint(id="s", description="short replies", constraint_type="soft"),
        ],
        context={"team": "core"},
    )
    assert goal.status is GoalStatus.ACTIVE
    text = goal.to_prompt_context()
    for part in (
        "# Goal: Triage",
        "Label every ticket.",
        "- all labelled",
        "- [MUST] no replies to bots",
        "- [SHOULD] short replies",
        "- team: core",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("kind", "fields", "why"),
    [
        (Goal, {"id": ""}, "goal id is empty"),
        (Goal, {"status": "done"}, "draft, ready"),
        (Goal, {"success_criteria": [{"id": "c"}]}, "list of SuccessCriterion"),
        (Goal, {"constraints": [Constraint(id="c")] * 2}, "more than once"),
        (SuccessCriterion, {"weight": 1.5}, "weight"),
        (Constraint, {"constraint_type": "firm"}, "hard, soft"),
    ],
)
def test_a_bad_goal_is_refused(kind: type[Any], fields: dict[str, Any], why: str) -> None:
    with pytest.raises((InvalidConfig, InvalidId), match=why):
        kind(**{"id": "x"} | fields)
