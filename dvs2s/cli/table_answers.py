"""The replies of a table: whatever is missing is answered, by one command or by several at once."""

import logging
import sys
import time
from typing import Any

from tqdm import tqdm

from dvs2s.errors import InUseError
from dvs2s.table.decode import Stopped
from dvs2s.table.row import Row
from dvs2s.table.rows import Workshop
from dvs2s.training.signals import StopSignal

logger = logging.getLogger("dvs2s")
_LOOK_SECONDS = 2.0


def answer_missing(shop: Workshop, *, stop: StopSignal, show: bool) -> None:
    """Returns when every row and seed is answered, here or in another process.

    What another process answers is left to it, and taken up where that process dies.

    Args:
        shop: with trained runs.
        stop: asked while another process is waited for; the shop asks for itself.
        show: whether a terminal gets a progress bar.

    Raises:
        Stopped: a signal came; what is answered is kept.
    """
    left = [(row, seed) for row in shop.rows for seed in range(len(row.runs))]
    total, says = len(left) * shop.num_messages(), True
    with tqdm(total=total, unit=" replies", file=sys.stderr, disable=None if show else True) as bar:
        while left:
            others = [one for one in left if not _answered(shop, *one, bar)]
            if others and len(others) == len(left):  # nothing was left to do but wait
                if says:
                    names = ", ".join(f"{row.name} {row.seed_of(seed)}" for row, seed in others)
                    logger.info("waiting for rows that other processes answer: %s", names)
                says = False
                if stop.requested:
                    raise Stopped
                time.sleep(_LOOK_SECONDS)
            left = others


def _answered(shop: Workshop, row: Row, seed: int, bar: "tqdm[Any]") -> bool:
    """Returns whether a row and seed is answered now; False while another process is at it."""
    bar.set_description(f"{row.name} {row.seed_of(seed)}")
    try:
        shop.answer(row, seed, advance=bar.update)
    except InUseError as error:
        logger.debug("%s", error)
        return False
    return True
