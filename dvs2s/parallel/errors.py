"""What goes wrong between workers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from dvs2s.errors import Dvs2sError

# What torch's back ends say of a peer that is gone; they have no exception type of their own for
# it on every path (a broken gloo connection comes out of backward() as a plain RuntimeError).
_LOST = re.compile(
    r"gloo|nccl|connection (was )?(closed|reset|refused)|broken pipe|timed? ?out|timeout"
    r"|rendezvous|TCPStore|socket",
    re.IGNORECASE,
)


class WorkerLostError(Dvs2sError):
    """Another worker of the run has died or does not answer."""


@contextmanager
def lost_workers_named(rank: int, size: int) -> Iterator[None]:
    """Turns the back end's complaint about a lost peer into a ``WorkerLostError``."""
    try:
        yield
    except RuntimeError as error:
        if size == 1 or not _LOST.search(str(error)):
            raise
        raise WorkerLostError(lost_message(rank, size, str(error).splitlines()[0])) from error


def lost_message(rank: int, size: int, reason: str) -> str:
    """Returns the sentence that a worker ends with when another one is gone."""
    return (
        f"worker {rank} of {size} stops: another worker has died or does not answer ({reason}). "
        f"What was saved is whole: the same command continues from it"
    )
