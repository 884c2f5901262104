"""The mailbox: lanes, bounds, order, and one wake-up per batch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.kernel.mailbox import Envelope, Item, Mailbox
from greenroom.protocol.errors import ActorStopped, MailboxOverflow
from greenroom.protocol.limits import CONTROL_BURST


def drain(mailbox: Mailbox) -> list[Item]:
    items = []
    while (item := mailbox.take()) is not None:
        items.append(item)
    return items


def test_control_goes_first_but_never_starves_the_users() -> None:
    mailbox = Mailbox("x", 10, lambda: None)
    mailbox.put(b"user")
    for _ in range(2 * CONTROL_BURST):
        mailbox.put_control(b"control")
    order = drain(mailbox)
    assert order.index(b"user") == CONTROL_BURST


def test_a_batch_costs_one_wake_up() -> None:
    wakes: list[int] = []
    mailbox = Mailbox("x", 100, lambda: wakes.append(1), armed=False)
    for _ in range(10):
        mailbox.put(b"m")
    assert len(wakes) == 1
    assert not mailbox.release()
    drain(mailbox)
    assert mailbox.release()
    mailbox.put_control(b"m")
    assert len(wakes) == 2


def test_what_was_in_hand_comes_back_first_and_in_order() -> None:
    mailbox = Mailbox("x", 10, lambda: None)
    for item in (b"1", b"2", b"3"):
        mailbox.put(item)
    first = [mailbox.take(), mailbox.take()]
    mailbox.put_control(b"control")
    mailbox.put_back([item for item in first if item is not None])
    assert drain(mailbox) == [b"1", b"2", b"control", b"3"]


def test_a_message_that_crashed_comes_alone_in_a_batch() -> None:
    mailbox = Mailbox("x", 10, lambda: None)
    mailbox.put(b"fresh")
    crashed = [Envelope(b"a", crashes=1), Envelope(b"b", crashes=1)]
    mailbox.put_back([*crashed])
    assert mailbox.take_batch(10) == [crashed[0]]
    assert mailbox.take_batch(10) == [crashed[1]]
    assert mailbox.take_batch(10) == [b"fresh"]


def test_a_closed_mailbox_refuses_and_can_be_opened_again() -> None:
    mailbox = Mailbox("x", 10, lambda: None)
    mailbox.put(b"1")
    assert mailbox.close() == [b"1"]
    with pytest.raises(ActorStopped):
        mailbox.put(b"2")
    with pytest.raises(ActorStopped):
        mailbox.put_control(b"2")
    mailbox.reopen()
    mailbox.put(b"3")
    assert drain(mailbox) == [b"3"]


def test_time_in_the_mailbox_is_sampled() -> None:
    mailbox = Mailbox("x", 1000, lambda: None)
    for _ in range(200):
        mailbox.put(b"m")
    drain(mailbox)
    assert 0 < mailbox.waited_s <= mailbox.waited_max_s
    assert mailbox.high_water == 200


@given(
    st.lists(st.sampled_from(["put", "control", "take", "back"]), max_size=80), st.integers(1, 10)
)
def test_each_lane_is_a_queue_and_the_user_lane_is_bounded(events: list[str], limit: int) -> None:
    """Whatever the mix, each lane keeps its order, nothing is lost and nothing is doubled."""
    mailbox = Mailbox("x", limit, lambda: None)
    taken: list[bytes] = []
    served: set[bytes] = set()  # what is put back takes no place of the user lane
    sent: dict[bytes, list[bytes]] = {b"u": [], b"c": []}
    for number, event in enumerate(events):
        match event:
            case "put":
                item = b"u%d" % number
                if len(set(sent[b"u"]) - served) >= limit:
                    with pytest.raises(MailboxOverflow):
                        mailbox.put(item)
                else:
                    mailbox.put(item)
                    sent[b"u"].append(item)
            case "control":
                item = b"c%d" % number
                mailbox.put_control(item)
                sent[b"c"].append(item)
            case "take":
                found = mailbox.take()
                if isinstance(found, bytes):
                    taken.append(found)
                    served.add(found)
            case _:
                if taken:
                    mailbox.put_back([taken.pop()])
    taken += [item for item in drain(mailbox) if isinstance(item, bytes)]
    for lane, items in sent.items():
        assert [item for item in taken if item.startswith(lane)] == items
