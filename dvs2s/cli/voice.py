"""How chat and generate reply: settings of search, listed words, and a partner that ranks again."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dvs2s.answer import Answer
from dvs2s.cli.configs import ReplyConfig
from dvs2s.decoding.mmi import Weights
from dvs2s.errors import CheckpointError, ConfigError
from dvs2s.loading import load
from dvs2s.reranking import Partner, reranked
from dvs2s.responder import Message, Responder

logger = logging.getLogger("dvs2s")


class Voice:
    """A responder that replies as the options of a command say.

    Args:
        responder: the model.
        config: ``search``, ``allow``, ``forbid`` and what belongs to ``rerank``.

    Raises:
        ConfigError: a setting out of range, or a search that gives one reply to rank.
        CheckpointError: the partner cannot be read, or has another vocabulary.
        ValueError: a partner that was trained for something else.
    """

    def __init__(self, responder: Responder, config: ReplyConfig) -> None:
        self.responder, self._given = responder, config.search.given()
        self.allow, self.forbid = list(config.allow), list(config.forbid)
        for option, words in (("allow", self.allow), ("forbid", self.forbid)):
            unknown = [word for word in words if not responder.word_ids([word])]
            if unknown:
                logger.warning("%s: the vocabulary has no %s", option, ", ".join(unknown))
        self.search = responder.search_config(**self._given)
        self._partner, self._weights = None, None
        if config.rerank:
            self._partner = _partner(responder, config)
            self._weights = Weights(self._partner.kind, config.rerank_weight, config.rerank_length)
            if self.search.kind == "greedy" or self._all_replies(self.search.num_best) == 1:
                raise ConfigError(
                    f"rerank={config.rerank} chooses among several replies, and "
                    f"search.kind={self.search.kind} gives one: set search.kind=beam search.beam=20"
                )

    def answers(
        self,
        messages: Sequence[Message],
        *,
        input_seeds: Sequence[int] | None = None,
        **overrides: Any,
    ) -> list[Answer]:
        """Returns the answers to a batch; with a partner in its order, ``num_best`` of them.

        Args:
            messages: at least one.
            input_seeds: for sampling.
            overrides: of the search, for this batch.
        """
        search = self.responder.search_config(**(self._given | overrides))
        wanted = search.num_best
        if self._partner is not None:
            search = replace(search, num_best=self._all_replies(wanted))
        found = self.responder.answers(
            messages, search, allow=self.allow, forbid=self.forbid, input_seeds=input_seeds
        )
        if self._partner is None or self._weights is None:
            return found
        ids = [np.array(self.responder.encode_message(message)) for message in messages]
        candidates = self._partner.candidates(ids, found)
        ranked = [
            reranked(answer, some, self._weights)
            for answer, some in zip(found, candidates, strict=True)
        ]
        return [replace(answer, replies=answer.replies[:wanted]) for answer in ranked]

    def _all_replies(self, wanted: int) -> int:
        """Returns how many replies there are to choose among: all that a beam ends with."""
        return wanted if self.search.kind == "sampling" else self.search.beam


def _partner(responder: Responder, config: ReplyConfig) -> Partner:
    model = load(config.partner, device=config.device, engine="plain")
    if model.vocabulary.fingerprint != responder.vocabulary.fingerprint:
        raise CheckpointError(
            f"partner={config.partner} has another vocabulary than checkpoint="
            f"{config.checkpoint}: train both on the same prepared data"
        )
    logger.info("replies are ranked again by %s (%s)", config.partner, config.rerank)
    return Partner(model, config.rerank)  # type: ignore[arg-type]
