"""What one thread leaves for another: the latest only."""

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds the latest item until it is taken; an item that nobody took makes room.

    Thread-safe. A slow reader therefore sees the newest item and never a queue of old ones.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._item: T | None = None

    def put(self, item: T) -> bool:
        """Leaves an item.

        Returns:
            True if it took the place of one that nobody had taken.
        """
        with self._lock:
            lost = self._item is not None
            self._item = item
        return lost

    def take(self) -> T | None:
        """Takes the item out; None where there is none."""
        with self._lock:
            item, self._item = self._item, None
        return item
