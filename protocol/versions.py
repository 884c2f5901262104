"""What a version of a graph declares, as far as a session that stands in it depends on it."""

from typing import Final

import msgspec


class NodeVersion(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """One node. `ways` are the nodes to which it may lead after a success; `leads` says that it
    surely leads to one of them, and never ends an execution there.
    """

    node_type: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    nullable: tuple[str, ...] = ()
    function: str | None = None
    terminal: bool = False
    pause: bool = False
    routes: dict[str, str] = {}
    ways: tuple[str, ...] = ()
    leads: bool = False


class PlanVersion(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One version of a graph. `version` is the text that its declaration had when it was first
    used; two graphs with equal digests are one version, whatever that text says.
    """

    digest: bytes
    graph_id: str
    version: str
    nodes: dict[str, NodeVersion]


decode_plan_version: Final = msgspec.msgpack.Decoder(PlanVersion).decode
