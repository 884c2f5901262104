"""The way back from the nodes' loop: results in batches, and updates that are made again."""

from contextlib import suppress

from greenroom.actors.nodes.buffer import applied
from greenroom.actors.nodes.functions import FunctionRegistry, error_text, error_types
from greenroom.actors.nodes.host import NodesHost
from greenroom.actors.nodes.runs import StreamBinding
from greenroom.protocol.commit import StateKey, StateRead, StateWrite
from greenroom.protocol.errors import ActorError
from greenroom.protocol.stream_messages import NodeResult, NodeResults, UpdateMade, UpdatesReapplied
from greenroom.protocol.values import decode_value
from greenroom.storage.store import Store


class ResultGatherer:
    """Gathers what ends in one turn of the nodes' loop into one message per stream."""

    def __init__(self, host: NodesHost) -> None:
        self._host = host
        self._waiting: list[StreamBinding] = []

    def add(self, binding: StreamBinding, result: NodeResult) -> None:
        """Have `result` told to its stream after this turn of the loop."""
        if not self._waiting:
            # Called after all that is ready now, so that what ends in this turn goes together.
            self._host.loop.call_soon(self._deliver)
        if not binding.results:
            self._waiting.append(binding)
        binding.results.append(result)

    def _deliver(self) -> None:
        waiting, self._waiting = self._waiting, []
        for binding in waiting:
            results, binding.results = binding.results, []
            if results:  # none when the instance was cancelled meanwhile
                tell(binding, NodeResults(incarnation=binding.incarnation, results=tuple(results)))


def tell(binding: StreamBinding, message: NodeResults | UpdatesReapplied) -> None:
    """Send to the stream; when it has ended for good nobody is there to know, and its executions
    run on at the next start.
    """
    with suppress(ActorError):
        binding.ref.tell(message, control=True)


def reapply(
    store: Store, functions: FunctionRegistry, binding: StreamBinding, result: NodeResult
) -> UpdatesReapplied:
    """Make the updates of a closing step again on the newest values; a raising one is reported."""
    error: BaseException | None = None
    reads: tuple[StateRead, ...] = ()
    writes: tuple[StateWrite, ...] = ()
    try:
        reads, writes = _reapplied(store, functions, result)
    except BaseException as raised:  # noqa: BLE001  user code; becomes the node's failure
        error = raised
    return UpdatesReapplied(
        incarnation=binding.incarnation,
        execution_id=result.execution_id,
        token_id=result.token_id,
        visit=result.visit,
        attempt=result.attempt,
        reads=reads,
        writes=writes,
        error=None if error is None else error_text(error),
        error_types=() if error is None else error_types(error),
    )


def _reapplied(
    store: Store, functions: FunctionRegistry, result: NodeResult
) -> tuple[tuple[StateRead, ...], tuple[StateWrite, ...]]:
    updates: dict[StateKey, list[UpdateMade]] = {}
    for one in result.updates:
        updates.setdefault(one.key, []).append(one)
    keys = tuple(updates)
    newest = store.read(lambda reader: [reader.state_get(key) for key in keys])
    reads = {one.key: one.version for one in result.reads}
    writes = {one.key: one.value for one in result.writes}
    for key, (raw, version) in zip(keys, newest, strict=True):
        for update in updates[key]:
            call = functions.get(update.function).call
            raw = applied(call, raw, decode_value(update.arguments), key.key)
        reads[key] = version
        writes[key] = raw
    return (
        tuple(StateRead(key, version) for key, version in reads.items()),
        tuple(StateWrite(key, value) for key, value in writes.items()),
    )
