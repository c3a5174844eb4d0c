"""What a row sets by its replies to held-out messages, before it answers the table's."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from dvs2s.answer import Answer
from dvs2s.coverage.generic import GenericBound, find_bound
from dvs2s.decoding.mmi import Weights
from dvs2s.errors import ConfigError
from dvs2s.reranking import Partner
from dvs2s.responder import Responder
from dvs2s.table.decode import Speaker, Stopped, Task
from dvs2s.table.tuning import tune

logger = logging.getLogger("dvs2s")
_GENERIC = 20  # replies that a bound counts as generic, as dvs2s.cli.generic does


def chosen_weights(
    task: Task, plain: Speaker, partner: Partner, *, stop: Callable[[], bool]
) -> Weights:
    """Returns the weights by which a row ranks its n-best lists again.

    Args:
        task: held-out messages.
        plain: gives the lists.
        partner: scores them.
        stop: asked between batches.

    Raises:
        Stopped: the messages were being answered.
    """
    answers = _answers(task, plain, stop)
    candidates = partner.candidates(task.messages(), answers)
    return tune(partner.kind, answers, candidates, task.references())


def priced_bound(
    task: Task,
    responder: Responder,
    search: Mapping[str, Any],
    *,
    row: str,
    stop: Callable[[], bool],
) -> GenericBound:
    """Returns the prices of generic replies that keep a row's share.

    Args:
        task: held-out messages.
        responder: answers them as the row does, but without a bound.
        search: of the row, with its ``generic_share``.
        row: its name.
        stop: asked between batches.

    Raises:
        ConfigError: no price keeps the share.
        Stopped: the messages were being answered.
    """
    share = search["generic_share"]
    own = {**search, "generic_share": 1.0, "num_best": search["beam"]}
    unbound = responder.search_config(**own)
    answers = _answers(task, Speaker(responder, unbound), stop)
    bound = find_bound(answers, asdict(unbound), [share], _GENERIC)
    if bound.prices[share] is None:
        raise ConfigError(
            f"table.rows.{row}.search.generic_share={share:g} cannot be kept by prices "
            f"from {bound.messages} messages: raise table.tune_messages, the share, or the beam"
        )
    logger.info("%s: generic replies cost %g nats", row, bound.prices[share])
    return bound


def _answers(task: Task, speaker: Speaker, stop: Callable[[], bool]) -> list[Answer]:
    messages, answers = task.messages(), list[Answer]()
    for first in range(0, len(messages), task.batch_size):
        if stop():
            raise Stopped
        some = messages[first : first + task.batch_size]
        answers += speaker.answers(some, range(first, first + len(some)))
    return answers
