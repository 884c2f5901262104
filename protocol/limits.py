"""The bounds that users or several parts can meet, in one place: nothing that grows is without one.

A bound of one algorithm alone stays beside it.

The unit is part of the name (`_BYTES`, `_S`) and `_MAX` marks the largest accepted value. Names
that end in `_DEFAULT` are defaults of settings that users may change; the others are fixed.
"""

from typing import Final

# Ids and keys
ID_CHARS_MAX: Final = 128
KEY_TEXT_BYTES_MAX: Final = 64  # longer text in a store key is replaced by its digest

# Values
VALUE_BYTES_MAX: Final = 1024 * 1024
INPUT_BYTES_MAX: Final = 1024 * 1024
VALUE_DEPTH_MAX: Final = 64
INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1

# Effects, of one visit of one node
EFFECTS_MAX: Final = 1_000
EFFECT_RESULTS_BYTES_MAX: Final = 16 * 1024 * 1024

# Graphs
NODES_MAX: Final = 10_000
EDGES_MAX: Final = 100_000
STEPS_MAX: Final = 1_000_000
STEPS_BEHIND_MAX: Final = 100  # of one execution that are sent along with another of its steps
STEPS_DEFAULT: Final = 100
ATTEMPTS_MAX: Final = 1_000
ATTEMPTS_DEFAULT: Final = 3
NODE_VISITS_MAX: Final = 1_000_000
BRANCH_TIMEOUT_S_DEFAULT: Final = 300.0
MAP_CONCURRENCY_DEFAULT: Final = 10
MAP_CONCURRENCY_MAX: Final = 1_000
MAP_ITEMS_MAX: Final = 10_000  # elements of one list that is fanned out over
MAP_RESULTS_BYTES_MAX: Final = 16 * 1024 * 1024  # of the list that a map leaves in memory
TOKENS_MAX: Final = 10_000  # positions of one execution at a time
SUBGRAPH_DEPTH_MAX: Final = 16  # graphs within graphs
CONDITION_CHARS_MAX: Final = 2_000
CONDITION_DEPTH_MAX: Final = 50
CONDITION_NODES_MAX: Final = 500  # parts of one parsed condition
CONDITION_EXPONENT_MAX: Final = 1_000
CONDITION_INTEGER_BITS_MAX: Final = 100_000  # of a power inside a condition

# Goals
GOAL_RULES_MAX: Final = 100  # criteria, and constraints, of one goal
CRITERION_TIMEOUT_S: Final = 30.0  # of a user's function that answers a criterion

# Retries
BACKOFF_INITIAL_S_DEFAULT: Final = 1.0
BACKOFF_FACTOR_DEFAULT: Final = 2.0
BACKOFF_S_DEFAULT_MAX: Final = 60.0
BACKOFF_S_MAX: Final = 7 * 24 * 3600.0
BACKOFF_FACTOR_MAX: Final = 1_000.0
BACKOFF_HELD_S_MAX: Final = 1.0  # shorter backoffs keep their permit

# Timers
SLEEP_S_MAX: Final = 100 * 366 * 24 * 3600.0
TIMEOUT_S_MAX: Final = 366 * 24 * 3600.0
TIMER_LOOK_S_MAX: Final = 60.0  # wall time may jump: nobody trusts one wait for longer
DUE_PAGE: Final = 64  # executions that came due, in memory at once for each stream

# Admission
CONCURRENT_DEFAULT: Final = 10
CONCURRENT_EXECUTIONS_DEFAULT: Final = 100
CONCURRENT_MAX: Final = 100_000
QUEUED_MAX_DEFAULT: Final = 1_000
QUEUED_MAX: Final = 10_000_000
PRIORITY_MAX: Final = 10_000  # and its negative
PRIORITY_STEP_S: Final = 60  # one priority is worth this much waiting time
BLOCKED_CALLERS_MAX: Final = 1_000  # that wait for a place, of each entry point
TRIGGER_MANY_MAX: Final = 1_000  # executions that one commit accepts
TRIGGER_MANY_BYTES_MAX: Final = 16 * 1024 * 1024  # of their inputs
BUDGET_WALL_S_MAX: Final = 366 * 24 * 3600.0
BLOCK_S_MAX: Final = 24 * 3600.0
RATE_COUNT_MAX: Final = 1_000_000_000
RATE_PER_S_MIN: Final = 0.001
RATE_PER_S_MAX: Final = 30 * 24 * 3600.0

# Questions to people
QUESTIONS_OPEN_MAX: Final = 100  # of one execution
PROMPT_CHARS_MAX: Final = 16_384
ANSWER_SCHEMA_BYTES_MAX: Final = 64 * 1024
ANSWER_DEFAULT_BYTES_MAX: Final = 64 * 1024
INBOX_MAX: Final = 100  # inputs that one execution keeps until its nodes ask
INBOX_BYTES_MAX: Final = 1024 * 1024  # of all of them
INJECT_TRIES_MAX: Final = 100  # changes of an execution that one input follows
PERSON_CHARS_MAX: Final = 128  # of an assignee, and of who answered
QUESTIONS_PAGE_MAX: Final = 1_000

# Idempotency
IDEMPOTENCY_WINDOW_S: Final = 24 * 3600.0
DELIVERY_WINDOW_S: Final = 72 * 3600.0
IDEMPOTENCY_WINDOW_S_MAX: Final = 30 * 24 * 3600.0
IDEMPOTENCY_ENTRIES_MAX: Final = 1_000_000

# Events
EVENT_DATA_BYTES_MAX: Final = 4096  # larger data is stored apart and referred to
STATE_CHANGED_VALUE_BYTES_MAX: Final = 256
STATE_CHANGED_EVENTS_MAX: Final = 100  # of one commit; the last one counts the others
HOPS_MAX: Final = 8
EVENT_HISTORY_DEFAULT: Final = 1_000
EVENT_HISTORY_MAX: Final = 100_000
EVENT_LOG_DEFAULT: Final = 1_000_000
EVENT_LOG_MIN: Final = 1_000
EVENT_LOG_MAX: Final = 1_000_000_000
EVENT_LOG_TTL_S_MIN: Final = 1.0  # live subscribers read within moments of the commit
SUBSCRIBER_QUEUE_MAX: Final = 1_000
SUBSCRIPTIONS_MAX: Final = 10_000
CONSUMER_PAGE_EVENTS: Final = 500
AGGREGATOR_INTERVAL_S: Final = 1.0
AGGREGATOR_EVENTS_MAX: Final = 1_000

# Decisions and problems
NOTE_BYTES_MAX: Final = 64 * 1024  # of one decision or problem, encoded
NODE_NOTES_MAX: Final = 100  # decisions and problems of one node run
DECISION_OPTIONS_MAX: Final = 100
RUN_PARTS_MAX: Final = 1_000  # decisions, outcomes and problems, each, in one record of a run
RUNS_LIST_DEFAULT: Final = 20

# Supervision and messages
MAILBOX_MESSAGES_DEFAULT: Final = 1_000
CONTROL_BURST: Final = 64  # control messages served before one user message gets its turn
DELIVERIES_MAX: Final = 3  # tries of one message before it goes to the dead letters
DEAD_LETTERS_MAX: Final = 1_000  # the newest; all are counted
PROCESS_DEATHS_MAX: Final = 3  # an execution that was running at so many is held
SYNC_THREADS_DEFAULT: Final = 32
SYNC_ABANDONED_MAX: Final = 8  # hung calls whose threads are replaced
SHUTDOWN_TIMEOUT_S_DEFAULT: Final = 10.0
SHUTDOWN_TIMEOUT_S_MAX: Final = 3_600.0

# Versions of graphs
REASONS_MAX: Final = 20  # why one session does not fit
MIGRATION_TIMEOUT_S: Final = 10.0  # one call of the user's function
MIGRATIONS_HUNG_MAX: Final = 5  # calls that took too long, before a runtime asks no more

# Checkpoints
CHECKPOINT_AGE_DAYS_MAX: Final = 36_500
CHECKPOINT_DESCRIPTION_CHARS_MAX: Final = 1_000

# Shared state
CONFLICT_RUNS_MAX: Final = 5
TURN_TIMEOUT_S: Final = 30.0
STATE_KEY_CHARS_MAX: Final = 1024
STATE_CHANGES_MAX: Final = 1_000  # recent changes that the state manager remembers

# Store
SNAPSHOT_PATCH_BYTES: Final = 64 * 1024  # patches since the last snapshot before the next is due
EXECUTION_RESULTS_DEFAULT: Final = 1_000
EXECUTION_RESULTS_MAX: Final = 10_000_000
JOURNAL_RECORDS_DEFAULT: Final = 100_000  # of one session
JOURNAL_RECORDS_MIN: Final = 100
JOURNAL_RECORDS_MAX: Final = 2**32 - 1
JOURNAL_TTL_S_MIN: Final = 1.0
JOURNAL_WALK_S_MIN: Final = 0.1  # between two looks at all sessions for what is too old
JOURNAL_WALK_S_MAX: Final = 24 * 3600.0
TTL_S_MAX: Final = 100 * 365 * 24 * 3600.0  # of whatever leaves for its age
TIDY_S_MAX: Final = 60.0  # between two looks for what is too old
TIDY_S_MIN: Final = 0.1
LIST_PAGE_DEFAULT: Final = 100
LIST_PAGE_MAX: Final = 10_000
STORE_TEXT_CHARS_MAX: Final = 1024  # of a key, an owner, a namespace or a consumer's name
RECORD_BYTES_MAX: Final = 256 * 1024 * 1024  # a record holds the new memory values of one step
SNAPSHOT_BYTES_MAX: Final = 1024 * 1024 * 1024
EVENT_BODY_BYTES_MAX: Final = 64 * 1024
CURSOR_STATE_BYTES_MAX: Final = 64 * 1024 * 1024

# Webhooks
WEBHOOK_PORT_DEFAULT: Final = 8080
WEBHOOK_BODY_BYTES_DEFAULT: Final = 1024 * 1024
WEBHOOK_BODY_BYTES_MAX: Final = 64 * 1024 * 1024
WEBHOOK_ROUTES_MAX: Final = 1_000
WEBHOOK_CONNECTIONS_MAX: Final = 1_000
WEBHOOK_BODY_TIMEOUT_S: Final = 30.0
WEBHOOK_BLOCK_S_MAX: Final = 10.0  # a sender waits for a place in the queue
WEBHOOK_DISCARD_BYTES_MAX: Final = 4 * 1024 * 1024  # read past the body limit so that 413 arrives
DELIVERY_ID_CHARS_MAX: Final = 255
