"""What is recorded of a fork: where it came from, and how the store is told of it."""

import msgspec

from greenroom.protocol.optional_raw import OptionalRaw


class Forked(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The position at which an execution was forked: record `seq` of the execution that it came
    from. `ordinal` is that one's, which is never given to another.
    """

    ordinal: int
    execution_id: str
    seq: int


class ForkChange(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What a commit changes of a fork. The commit that accepts it brings `origin` alone: the fork
    is read through the execution that it came from. Its first step of its own also brings `base`,
    the encoded state before that step, and from then on it needs nobody.
    """

    origin: Forked
    base: OptionalRaw = None
