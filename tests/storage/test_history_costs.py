"""What looking back costs: not more the longer a session is."""

import msgspec

from greenroom.actors.host.history_reading import history_in, history_query
from greenroom.actors.host.session_reading import session_in
from greenroom.protocol.checkpoints import CheckpointType, Naming, NewCheckpoint


def named(make, seq) -> Naming:
    kind = CheckpointType.NODE_COMPLETE
    name = NewCheckpoint(seq=seq, kind=kind, number=0, node="a", at=make.now, step=seq)
    return Naming(names=(name,))


def test_a_page_of_history_costs_the_same_however_long_the_session_is(bench, make, cost) -> None:
    """Entries looked up or returned, of the first page and of later ones, at 700 steps and at
    3,000 with a snapshot every hundred, where there is one to begin from.
    """
    bench.apply(make.accept("e1"))
    costs = []
    seq = 1
    for length in (701, 3_001):
        while seq < length:
            steps = [
                make.step("e1", 1, one, naming=named(make, one))
                for one in range(seq + 1, seq + 100)
            ]
            bench.apply(*steps)
            seq += 100
            state = bench.store.read(lambda r: r.load_state(1))
            snapshot = make.raw(msgspec.structs.replace(state, seq=seq))
            bench.apply(make.step("e1", 1, seq, snapshot=snapshot))
        pages = [history_query("e1", after, 10) for after in (0, 500, seq - 50)]
        costs.append(
            [cost(lambda r, page=page: history_in(page, r)) for page in pages]
            + [cost(lambda r, at=at: session_in("e1", r, at)) for at in (1, 50)]
        )
        found = bench.store.read(lambda r, page=pages[1]: history_in(page, r))
        assert [one.seq for one in found.entries] == list(range(501, 511))
        assert all(one.checkpoints for one in found.entries if one.seq % 100 != 1)
    assert costs[0] == costs[1]
    assert costs[0][0] <= 10 + 10 + 20, "a page of ten records, with their names"
