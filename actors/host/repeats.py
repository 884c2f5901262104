"""Triggers that were sent before: what the store knows of them."""

from greenroom.protocol.commit import CommitOutcome, OutcomeKind
from greenroom.protocol.errors import IdempotencyConflict
from greenroom.protocol.stream_messages import Trigger
from greenroom.storage.reader import Reader
from greenroom.storage.store import Store


def first_of(store: Store, trigger: Trigger) -> CommitOutcome | None:
    """What a repeat of an accepted trigger is answered, by its key or its execution id.

    None when the store does not know it. Point reads only; any thread. The store's writer decides
    the same way, in the transaction that accepts; this is for when there is no room to ask it.
    """

    def look(reader: Reader) -> CommitOutcome | None:
        if trigger.idempotency_key is not None:
            claim = reader.claim(trigger.idempotency_namespace, trigger.idempotency_key)
            if claim is not None:
                same = not trigger.digest or trigger.digest == claim.digest
                return CommitOutcome(
                    commit_id=0,
                    kind=OutcomeKind.DUPLICATE if same else OutcomeKind.REFUSED,
                    duplicate_of=claim.execution_id,
                    code="" if same else IdempotencyConflict.code,
                )
        if reader.execution(trigger.execution_id) is not None:
            return CommitOutcome(
                commit_id=0, kind=OutcomeKind.DUPLICATE, duplicate_of=trigger.execution_id
            )
        return None

    return store.read(look)
