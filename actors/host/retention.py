"""What a runtime's settings say about how long its store keeps what."""

from greenroom.protocol.config import AgentRuntimeConfig
from greenroom.protocol.limits import TIDY_S_MAX, TIDY_S_MIN
from greenroom.storage.store import StoreOptions


def store_options(config: AgentRuntimeConfig) -> StoreOptions:
    """The store's part of the settings."""
    return StoreOptions(
        results_max=config.execution_result_max,
        results_ttl_s=config.execution_result_ttl_seconds,
        events_max=config.event_log_max,
        events_ttl_s=config.event_log_ttl_seconds,
        journal_records_max=config.journal_record_max,
        journal_ttl_s=config.journal_record_ttl_seconds,
    )


def tidy_s(config: AgentRuntimeConfig) -> float:
    """How often to look for what has stayed its time, in seconds: a tenth of the shortest age."""
    ages = (
        config.execution_result_ttl_seconds,
        config.event_log_ttl_seconds,
        config.journal_record_ttl_seconds,
    )
    shortest = min((age for age in ages if age is not None), default=TIDY_S_MAX)
    return min(max(shortest / 10, TIDY_S_MIN), TIDY_S_MAX)
