"""Greenroom: an embeddable, durable actor runtime for AI agents."""

from greenroom.actors.host.agent_builder import Agent
from greenroom.actors.host.create import create_agent_runtime
from greenroom.actors.host.logger import LOGGER as _LOGGER  # noqa: F401  silences it
from greenroom.actors.host.recovery_report import RecoveryReport
from greenroom.actors.host.runtime import AgentRuntime
from greenroom.actors.host.trigger_options import TriggerItem
from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.kernel.specs import ChildSpec, SupervisorSpec
from greenroom.actors.kernel.supervisor import Supervisor
from greenroom.actors.kernel.supervisor_ref import SupervisorRef
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.nodes.context import NodeContext
from greenroom.protocol.admission_errors import BatchTooLarge, InvalidItem, RateLimited
from greenroom.protocol.budget import Budget, OnBreach
from greenroom.protocol.checkpoint import CheckpointConfig
from greenroom.protocol.checkpoints import Checkpoint, CheckpointType, LoadedCheckpoint
from greenroom.protocol.config import AgentRuntimeConfig, WebhookRoute
from greenroom.protocol.decisions import DecisionType, Option, Severity
from greenroom.protocol.effect_errors import (
    EffectMismatch,
    EffectNotDone,
    OutcomeUnknown,
    StaleNodeRun,
    TooManyEffects,
)
from greenroom.protocol.effects import EffectPolicy
from greenroom.protocol.engine.result import ExecutionResult
from greenroom.protocol.entry_point import EntryPointSpec, Overflow, TriggerType
from greenroom.protocol.errors import (
    ActorError,
    ActorStopped,
    AskTimedOut,
    EntryPointExists,
    EntryPointNotFound,
    FunctionNotFound,
    GreenroomError,
    IdempotencyConflict,
    InvalidConfig,
    InvalidExpression,
    InvalidGraph,
    InvalidId,
    InvalidInput,
    InvalidValue,
    IsolationError,
    KeyNotAllowed,
    MailboxOverflow,
    NodeFailed,
    NodeNotFound,
    Overloaded,
    PortInUse,
    RuntimeIsRunning,
    RuntimeNotRunning,
    RuntimeStopped,
    StateConflict,
    StorageError,
    StoreCorrupt,
    StoreInUse,
    StoreTooNew,
    StoreUnavailable,
    StreamUnavailable,
    UnsupportedSetting,
    ValueTooLarge,
)
from greenroom.protocol.events import AgentEvent, EventType
from greenroom.protocol.execution import Status
from greenroom.protocol.goal import Constraint, Goal, SuccessCriterion
from greenroom.protocol.graph import EdgeCondition, EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.history import History, HistoryEntry
from greenroom.protocol.history_errors import HistoryPruned
from greenroom.protocol.isolation import IsolationLevel, StateScope
from greenroom.protocol.migration import Migration, OutdatedSession, Position
from greenroom.protocol.node_errors import NodeTimedOut, NonRetryable
from greenroom.protocol.parallel import (
    MapSpec,
    MemoryConflictStrategy,
    OnBranchFailure,
    ParallelExecutionConfig,
)
from greenroom.protocol.people_errors import (
    AmbiguousBranch,
    AmbiguousInput,
    ExecutionNotFound,
    InboxFull,
    InvalidAnswer,
    NotResumable,
)
from greenroom.protocol.questions import (
    AnswerOutcome,
    InjectionOutcome,
    Question,
    QuestionEnding,
)
from greenroom.protocol.rate_limit import RateLimit
from greenroom.protocol.record_errors import TooManyNotes
from greenroom.protocol.runs import Decision, Outcome, Problem, Run
from greenroom.protocol.session_errors import (
    CheckpointNotFound,
    NotDeletable,
    NotForkable,
    PositionNotFound,
)
from greenroom.protocol.sessions import ForkedFrom, Session, SessionPage, SessionSummary
from greenroom.protocol.version_errors import GraphChanged

__version__ = "0.1.0"

__all__ = [
    "Actor",
    "ActorError",
    "ActorRef",
    "ActorStopped",
    "ActorSystem",
    "Agent",
    "AgentEvent",
    "AgentRuntime",
    "AgentRuntimeConfig",
    "AmbiguousBranch",
    "AmbiguousInput",
    "AnswerOutcome",
    "AskTimedOut",
    "BatchTooLarge",
    "Budget",
    "Checkpoint",
    "CheckpointConfig",
    "CheckpointNotFound",
    "CheckpointType",
    "ChildSpec",
    "Constraint",
    "Decision",
    "DecisionType",
    "EdgeCondition",
    "EdgeSpec",
    "EffectMismatch",
    "EffectNotDone",
    "EffectPolicy",
    "EntryPointExists",
    "EntryPointNotFound",
    "EntryPointSpec",
    "EventType",
    "ExecutionNotFound",
    "ExecutionResult",
    "ForkedFrom",
    "FunctionNotFound",
    "Goal",
    "GraphChanged",
    "GraphSpec",
    "GreenroomError",
    "History",
    "HistoryEntry",
    "HistoryPruned",
    "IdempotencyConflict",
    "InboxFull",
    "InjectionOutcome",
    "InvalidAnswer",
    "InvalidConfig",
    "InvalidExpression",
    "InvalidGraph",
    "InvalidId",
    "InvalidInput",
    "InvalidItem",
    "InvalidValue",
    "IsolationError",
    "IsolationLevel",
    "KeyNotAllowed",
    "LoadedCheckpoint",
    "MailboxOverflow",
    "MapSpec",
    "MemoryConflictStrategy",
    "Migration",
    "NodeContext",
    "NodeFailed",
    "NodeNotFound",
    "NodeSpec",
    "NodeTimedOut",
    "NonRetryable",
    "NotDeletable",
    "NotForkable",
    "NotResumable",
    "OnBranchFailure",
    "OnBreach",
    "Option",
    "Outcome",
    "OutcomeUnknown",
    "OutdatedSession",
    "Overflow",
    "Overloaded",
    "ParallelExecutionConfig",
    "PortInUse",
    "Position",
    "PositionNotFound",
    "Problem",
    "Question",
    "QuestionEnding",
    "RateLimit",
    "RateLimited",
    "RecoveryReport",
    "Run",
    "RuntimeIsRunning",
    "RuntimeNotRunning",
    "RuntimeStopped",
    "Session",
    "SessionPage",
    "SessionSummary",
    "Severity",
    "StaleNodeRun",
    "StateConflict",
    "StateScope",
    "Status",
    "StorageError",
    "StoreCorrupt",
    "StoreInUse",
    "StoreTooNew",
    "StoreUnavailable",
    "StreamUnavailable",
    "SuccessCriterion",
    "Supervisor",
    "SupervisorRef",
    "SupervisorSpec",
    "TooManyEffects",
    "TooManyNotes",
    "TriggerItem",
    "TriggerType",
    "UnsupportedSetting",
    "ValueTooLarge",
    "WebhookRoute",
    "__version__",
    "create_agent_runtime",
]
