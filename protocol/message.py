"""The root of the messages that the runtime's own actors exchange."""

import msgspec


class Message(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag_field="kind"
):
    """Root of all of them.

    Here and wherever a step makes structs, `gc=False`: they are trees and never part of a cycle,
    and the garbage collector need not look at them.
    """
