"""Replies of one model ranked again with the help of another: S2SA-MMI."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvs2s.answer import Answer
from dvs2s.data.batch import make_batch
from dvs2s.decoding.mmi import ANTI_LM_WORDS, Candidate, Kind, Weights, ranking
from dvs2s.responder import Responder
from dvs2s.text.specials import UNK

_PAIRING = {"bidirectional": "reverse", "anti_lm": "unconditional"}
_ROWS = 64  # pairs a product over the vocabulary


class Partner:
    """Says how likely a message is after a reply, or a reply by itself.

    Args:
        model: trained with ``data.pairing=reverse`` (bidirectional) or ``unconditional`` (anti-LM).
        kind: what it is for.

    Raises:
        ValueError: the model was trained for something else.
    """

    def __init__(self, model: Responder, kind: Kind) -> None:
        wanted, pairing = _PAIRING[kind], model.config.data.pairing
        if pairing != wanted:
            raise ValueError(
                f"model must be trained with data.pairing={wanted} for {kind}, got {pairing}"
            )
        self._model, self.kind = model, kind

    def candidates(
        self,
        messages: Sequence[NDArray[np.integer]],
        answers: Sequence[Answer],
    ) -> list[list[Candidate]]:
        """Returns what is known of every reply.

        Args:
            messages: ids of each message, as the answering model read them.
            answers: to these messages, with the replies to choose among.

        Raises:
            ValueError: the numbers differ.
        """
        if len(messages) != len(answers):
            raise ValueError(f"messages must be as many as answers, got {len(messages)}")
        encode = self._model.vocabulary.encode
        pairs = [
            (message.tolist(), encode(reply.tokens))
            for message, answer in zip(messages, answers, strict=True)
            for reply in answer.replies
        ]
        partners = iter(self._log_probs(pairs))
        return [
            [
                Candidate(reply.log_prob, next(partners), len(reply.tokens) + reply.finished)
                for reply in answer.replies
            ]
            for answer in answers
        ]

    @torch.inference_mode()
    def _log_probs(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        if self.kind == "bidirectional":
            asked = [(reply or [UNK], message) for message, reply in pairs]
        else:
            asked = [([UNK], reply) for _, reply in pairs]
        order = sorted(range(len(asked)), key=lambda i: len(asked[i][1]))
        found = dict[int, float]()
        for first in range(0, len(order), _ROWS):
            chosen = order[first : first + _ROWS]
            sums = self._batch_log_probs([asked[i] for i in chosen])
            found.update(zip(chosen, sums.tolist(), strict=True))
        return [found[i] for i in range(len(asked))]

    def _batch_log_probs(self, asked: Sequence[tuple[list[int], list[int]]]) -> Tensor:
        """Returns (B,) nats of the second sides given the first."""
        sides = [[np.array(pair[k], dtype=np.int64) for pair in asked] for k in (0, 1)]
        batch = make_batch(sides[0], sides[1], range(len(asked))).to(self._model.device)
        model = self._model.model
        hidden = model.unroll(model.encode(batch.messages, batch.message_lengths), batch.responses)
        log_probs = model.output.projection(hidden).float().log_softmax(-1)  # (B, T, V)
        words = log_probs.gather(2, batch.responses[..., None])[..., 0] * batch.response_mask
        charged = words[:, :ANTI_LM_WORDS] if self.kind == "anti_lm" else words
        sums: Tensor = charged.sum(1)
        return sums


def reranked(answer: Answer, candidates: Sequence[Candidate], weights: Weights) -> Answer:
    """Returns the answer with its replies in the new order; their scores are the new ones."""
    order = ranking(candidates, weights)
    replies = [replace(answer.replies[i], score=weights.score(candidates[i])) for i in order]
    return replace(answer, replies=tuple(replies))
