"""A bounded queue that serves its clients in turn."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """First in, first out for each client; one of each client in turn.

    Args:
        size: items that may wait, at most; at least 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}: let at least one item wait")
        self._size = size
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def has_room(self, client: str, coming: int = 0, own: int = 0) -> bool:
        """Returns whether a further item of this client would stay.

        Args:
            client: who has it.
            coming: items of anybody that are still on their way, less those that are about to go;
                a negative number is room beyond the queue.
            own: how many of those on their way are this client's.
        """
        if self._length + coming < self._size:
            return True
        own += len(self._lines.get(client, ()))
        return any(len(line) > own + 1 for line in self._lines.values())

    def put(self, client: str, item: Item) -> Item | None:
        """Adds an item; returns the one that has to go for it, perhaps itself.

        When the queue is full, whoever has most items waiting loses the newest, so that one busy
        client does not shut the others out.
        """
        line = self._lines.setdefault(client, deque())
        line.append(item)
        self._length += 1
        if self._length <= self._size:
            return None
        longest = max(self._lines, key=lambda name: len(self._lines[name]))
        if len(self._lines[longest]) <= len(line):
            longest = client
        return self._take(longest, newest=True)

    def get(self) -> Item:
        """Returns the next item.

        Raises:
            IndexError: nothing waits.
        """
        if not self._length:
            raise IndexError("nothing waits: ask for the length first")
        client = next(iter(self._lines))
        item = self._take(client)
        if client in self._lines:
            self._lines.move_to_end(client)
        return item

    def remove(self, client: str, item: Item) -> None:
        """Takes an item out that nobody waits for any more; nothing happens if it is not there."""
        line = self._lines.get(client)
        if line is not None and item in line:
            line.remove(item)
            self._length -= 1
            if not line:
                del self._lines[client]

    def _take(self, client: str, *, newest: bool = False) -> Item:
        line = self._lines[client]
        item = line.pop() if newest else line.popleft()
        self._length -= 1
        if not line:
            del self._lines[client]
        return item
