"""Decisions and problems in the store: the same for both stores."""

from greenroom.protocol.decisions import DecisionMade
from greenroom.protocol.execution import Status
from greenroom.protocol.limits import NOTE_BYTES_MAX


def test_decisions_lie_beside_the_record_that_counts_them_and_leave_with_it(bench, make) -> None:
    bench.open(results_max=1)
    bench.apply(make.accept("e"))
    notes = tuple(
        make.raw(DecisionMade(id=f"d{number}", at=1.0, intent="pick")) for number in range(3)
    )
    bench.apply(make.step("e", 1, 2, notes=notes), make.step("e", 1, 3))
    bench.apply(make.step("e", 1, 4, status=Status.COMPLETED, notes=notes[:1]))
    bench.reopen()
    found = bench.store.read(lambda r: r.notes(1))
    assert [(seq, number, note.id) for seq, number, note in found] == [
        (2, 1, "d0"),
        (2, 2, "d1"),
        (2, 3, "d2"),
        (4, 1, "d0"),
    ]
    assert bench.store.read(lambda r: r.notes(1, 2, 3)) == found[3:]
    assert bench.store.read(lambda r: r.notes(1, 2, 1, 1)) == found[1:2]
    assert bench.store.read(lambda r: r.notes_of_record(1, 4)) == [(1, found[3][2])]
    assert bench.store.read(lambda r: r.notes(2)) == []
    for number in range(2, 102):
        bench.apply(make.accept(f"e{number}"))
        bench.apply(make.step(f"e{number}", number, 2, status=Status.COMPLETED))
    assert bench.store.stats().tables["decisions"] == 0


def test_a_decision_without_a_record_or_too_large_is_refused(bench, make) -> None:
    note = make.raw(DecisionMade(id="d", at=1.0, intent="x" * NOTE_BYTES_MAX))
    assert bench.commit(make.host(notes=(make.raw(1),)))[0].code == "commit_refused"
    bench.apply(make.accept("e"))
    assert bench.commit(make.step("e", 1, 2, notes=(note,)))[0].code == "value_too_large"
