"""Errors of effects and durable sub-steps; `errors.py` has the whole tree."""

from greenroom.protocol.errors import GreenroomError, InvalidInput


class OutcomeUnknown(GreenroomError):
    """An effect with policy `once` was begun, and nobody knows whether it happened.

    It is not called again. `effect` is its name, `key` the idempotency key it was called with.
    When this very run made the call, what it raised is the cause.
    """

    code = "outcome_unknown"

    def __init__(self, effect: str, key: str, why: str) -> None:
        super().__init__(
            f"effect {effect!r} may have happened or not ({why}); it is not called again: find out "
            f"by its key {key}"
        )
        self.effect, self.key = effect, key


class EffectNotDone(GreenroomError):
    """Raised by the function of an effect to say for certain that nothing happened.

    The effect counts as never begun, and the node may be tried again.
    """

    code = "effect_not_done"
    retryable = True


class EffectMismatch(InvalidInput):
    """An effect with policy `once` is on record with other arguments than it is now called with.

    The node does not do the same as in its earlier run, so what is recorded is not what it asks
    for; calling it could do twice what may happen once.
    """

    code = "effect_mismatch"

    def __init__(self, effect: str, occurrence: int) -> None:
        super().__init__(
            f"effect {effect!r} (call {occurrence} of this visit) was begun with other arguments "
            "in an earlier run: derive its arguments from inputs and recorded steps only"
        )
        self.effect, self.occurrence = effect, occurrence


class TooManyEffects(InvalidInput):
    """One visit of a node records more effects, or more bytes of results, than it may."""

    code = "too_many_effects"


class StaleNodeRun(GreenroomError):
    """This run of the node counts no more: it was stopped, or replaced by another one.

    Nothing of the effect was recorded, and one that was still to be called is not.
    """

    code = "stale_node_run"
