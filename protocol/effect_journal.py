"""The rule of effects: when a call is made, what is recorded around it, and what is replayed.

The rule is a generator that says what is to be done next and is told how that went, so that async
and plain functions obey the same one, and tests need neither.
"""

from collections.abc import Generator
from typing import NamedTuple, TypeAlias

import msgspec

from greenroom.protocol.effect_errors import (
    EffectMismatch,
    EffectNotDone,
    OutcomeUnknown,
    TooManyEffects,
)
from greenroom.protocol.effects import (
    INTENDED,
    EffectOutcome,
    EffectPolicy,
    EffectRecord,
    idempotency_key,
    slot_of,
)
from greenroom.protocol.ids import validate_id
from greenroom.protocol.limits import EFFECT_RESULTS_BYTES_MAX, EFFECTS_MAX
from greenroom.protocol.values import encode_value


class Call(msgspec.Struct, frozen=True, gc=False):
    """Call the function now; send what it returns, or throw what it raises. `key` is the call's."""

    key: str


class Record(msgspec.Struct, frozen=True, gc=False):
    """Have `record` stand in `slot`, None withdraws it; go on when that is durable."""

    slot: str
    record: EffectRecord | None


class _Wanted(NamedTuple):
    """One call of an effect, as its node wants it."""

    name: str
    occurrence: int
    slot: str
    key: str
    policy: EffectPolicy
    digest: bytes
    ask: bool

    def record(self, outcome: EffectOutcome, value: msgspec.Raw | None = None) -> EffectRecord:
        """What is put on record of it."""
        ask = self.ask and outcome is EffectOutcome.UNKNOWN
        return EffectRecord(self.policy, outcome, self.digest, value, ask)


Steps: TypeAlias = Generator[Call | Record, object, msgspec.Raw]
"""The steps of one effect. What it returns is the encoded result."""


class VisitEffects:
    """The effects of one visit of a node, as one run of it comes upon them. One owner.

    Occurrences count the calls of one name in the order in which they begin. A call that raised
    keeps its occurrence when it is made again with equal arguments, so that a node which tries
    again by itself uses the same key as one that is tried again.
    """

    __slots__ = (
        "_bytes",
        "_counts",
        "_execution_id",
        "_known_as",
        "_node",
        "_raised",
        "_records",
        "_rewinds",
        "_slots",
        "_visit",
    )

    def __init__(
        self,
        execution_id: str,
        node: str,
        visit: int,
        records: dict[str, EffectRecord],
        *,
        rewinds: int = 0,
        known_as: str | None = None,
    ) -> None:
        self._execution_id, self._node, self._visit = execution_id, node, visit
        self._rewinds, self._known_as = rewinds, known_as
        self._records = dict(records)
        self._slots = set(records)
        self._bytes = sum(len(one.value) for one in records.values() if one.value is not None)
        self._counts: dict[str, int] = {}
        self._raised: dict[tuple[str, bytes], list[int]] = {}

    def perform(
        self, name: str, policy: EffectPolicy, digest: bytes, *, ask: bool = False
    ) -> Steps:
        """Return the steps of the next call of that name, with arguments of that digest. With `ask`
        a person is asked when the outcome of a `once` is unknown.

        They raise what the function raised, InvalidId for a name that is none, InvalidValue and
        ValueTooLarge for a result that cannot be stored, OutcomeUnknown, EffectMismatch,
        TooManyEffects. Under `once`, what the function raised is the cause of an OutcomeUnknown,
        unless it is an EffectNotDone.
        """
        validate_id("effect", name)
        tried = self._raised.get((name, digest))
        if tried:
            occurrence = tried.pop(0)
        else:
            occurrence = self._counts[name] = self._counts.get(name, 0) + 1
        slot = slot_of(name, occurrence)
        key = idempotency_key(
            self._execution_id,
            self._node,
            self._visit,
            slot,
            rewinds=self._rewinds,
            known_as=self._known_as,
        )
        wanted = _Wanted(name, occurrence, slot, key, policy, digest, ask)
        try:
            return (yield from self._perform(wanted))
        except BaseException:
            self._raised.setdefault((name, digest), []).append(occurrence)
            raise

    def _perform(self, wanted: _Wanted) -> Steps:
        slot, once = wanted.slot, wanted.policy is EffectPolicy.ONCE
        found = self._records.get(slot)
        if found is not None and found.digest != wanted.digest:
            if once or found.policy is EffectPolicy.ONCE:
                raise EffectMismatch(wanted.name, wanted.occurrence)
            found = None
        if found is not None and found.value is not None:
            return found.value
        if found is not None and once:
            if found.outcome is EffectOutcome.GIVEN_UP:
                raise OutcomeUnknown(wanted.name, wanted.key, "a person gave it up")
            if found.outcome is not EffectOutcome.UNKNOWN or found.ask is not wanted.ask:
                yield self._note(slot, wanted.record(EffectOutcome.UNKNOWN))
            raise OutcomeUnknown(wanted.name, wanted.key, "it was begun in an earlier run")
        self._take_room(slot)
        if found is None and wanted.policy in INTENDED:
            yield self._note(slot, wanted.record(EffectOutcome.BEGUN))
        raw = yield from self._call(wanted)
        yield self._note(slot, wanted.record(EffectOutcome.DONE, raw))
        return raw

    def _call(self, wanted: _Wanted) -> Steps:
        """Make the call; what is raised leaves a `once` withdrawn or unknown."""
        once = wanted.policy is EffectPolicy.ONCE
        unknown = wanted.record(EffectOutcome.UNKNOWN)
        try:
            value = yield Call(wanted.key)
        except EffectNotDone:
            if once:
                yield self._note(wanted.slot, None)
            raise
        except Exception as error:
            if not once:
                raise
            yield self._note(wanted.slot, unknown)
            why = f"its function raised {_shown(error)}"
            raise OutcomeUnknown(wanted.name, wanted.key, why) from error
        try:
            raw = msgspec.Raw(encode_value(value, "$.result"))
            self._add_bytes(len(raw))
        except Exception:
            if once:
                yield self._note(wanted.slot, unknown)
            raise
        return raw

    def _note(self, slot: str, record: EffectRecord | None) -> Record:
        # Known here at once: a run that is refused the record is over anyway, and one that is
        # cancelled while it waits must not take the call for one that was never made.
        if record is None:
            self._records.pop(slot, None)
        else:
            self._records[slot] = record
        return Record(slot, record)

    def _take_room(self, slot: str) -> None:
        self._slots.add(slot)
        if len(self._slots) > EFFECTS_MAX:
            raise TooManyEffects(
                f"node {self._node!r} has more than {EFFECTS_MAX} effects in one visit: gather "
                "several calls in one effect, or use several nodes"
            )
        self._add_bytes(0)

    def _add_bytes(self, count: int) -> None:
        if self._bytes + count > EFFECT_RESULTS_BYTES_MAX:
            raise TooManyEffects(
                f"the results of the effects of node {self._node!r} have more than "
                f"{EFFECT_RESULTS_BYTES_MAX:,} bytes in one visit: keep large data elsewhere, and "
                "return where it is"
            )
        self._bytes += count


def _shown(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:500]
    except Exception:  # noqa: BLE001  a broken __str__ must not hide what happened to the effect
        return type(error).__name__
