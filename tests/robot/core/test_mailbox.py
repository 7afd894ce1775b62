"""Latest only, between threads."""

import threading

from jointspace.robot.core.mailbox import Mailbox


def test_the_newest_item_is_taken_and_only_once():
    box = Mailbox()
    assert box.take() is None
    assert box.put(1) is False
    assert box.put(2) is True
    assert box.take() == 2
    assert box.take() is None
    assert box.put(3) is False


def test_a_slow_reader_sees_items_in_order_and_none_twice():
    box, seen, replaced = Mailbox(), [], []
    writer = threading.Thread(
        target=lambda: replaced.extend(box.put(number) for number in range(2000))
    )
    writer.start()
    while writer.is_alive():
        item = box.take()
        if item is not None:
            seen.append(item)
    last = box.take()
    seen += [] if last is None else [last]
    assert seen == sorted(set(seen))
    assert seen[-1] == 1999
    assert len(seen) + sum(replaced) == 2000
