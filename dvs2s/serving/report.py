"""What is told about an answer: its words, T, and β."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dvs2s.config import SearchConfig
from dvs2s.decoding.protocol import Hypothesis
from dvs2s.responder import Responder
from dvs2s.serving.pieces import cut
from dvs2s.serving.wire import Job
from dvs2s.text.specials import SPECIALS, UNK


class Report:
    """Writes vocabularies and replies as events have them.

    Args:
        responder: whose vocabulary and way of writing they are in.
    """

    def __init__(self, responder: Responder) -> None:
        self._bot = responder

    def vocabulary(self, row: Sequence[int], betas: Tensor, limit: int) -> dict[str, Any]:
        """Returns T of one message, its likeliest content words first.

        Args:
            row: ids of T, rising; all special and function words come first.
            betas: (content words of T,) float in [0, 1], in the order of ``row``.
            limit: content words to list, at most; 0 lists no function words, either.
        """
        vocabulary = self._bot.vocabulary
        fixed = vocabulary.num_fixed
        best = betas.sort(descending=True, stable=True).indices[:limit] if limit else betas[:0]
        listed = [(row[fixed + int(place)], float(betas[int(place)])) for place in best.tolist()]
        return {
            "size": len(row) - len(SPECIALS),
            "total": len(vocabulary),
            "content_size": len(row) - fixed,
            "content": [
                {"word": vocabulary.word(i), "id": i, "beta": round(beta, 6)} for i, beta in listed
            ],
            "function": list(vocabulary.words[len(SPECIALS) : fixed]) if limit else [],
        }

    def heard(self, job: Job) -> dict[str, int]:
        """Returns how many words the newest turn has, and how many of them V lacks."""
        ids = self._bot.encode_message(job.turns[-1])
        return {"words": len(ids), "unknown": ids.count(UNK)}

    def sources(self, job: Job, search: SearchConfig) -> dict[str, Any]:
        """Returns the ``sources`` of the words that are listed; nothing where not asked for."""
        if not job.sources:
            return {}
        lens = self._bot.lens(job.turns, limit=job.lens, **vars(search))
        found = [(word, word.brought_in_by) for word in lens.words]
        return {
            "sources": [
                {
                    "word": word.word,
                    "brought_in_by": None if place is None else lens.message_words[place],
                    "beta_without": None if place is None else round(word.beta_without(place), 6),
                }
                for word, place in found
            ]
        }

    def reply(
        self, hypothesis: Hypothesis, row: Sequence[int], betas: Tensor, stop: Sequence[str]
    ) -> dict[str, Any]:
        """Returns one reply, cut before the first of the texts ``stop``; see ``vocabulary``."""
        vocabulary = self._bot.vocabulary
        fixed = vocabulary.num_fixed
        tokens = [vocabulary.word(row[slot]) for slot in hypothesis.slots]
        text, stopped = cut(self._bot.detokenize(tokens), stop)
        own = [float(betas[s - fixed]) if s >= fixed else 1.0 for s in hypothesis.slots]
        return {
            "text": text,
            "tokens": tokens,
            "betas": [round(beta, 6) for beta in own],
            "score": hypothesis.score,
            "log_prob": hypothesis.log_prob,
            "finish": "stop" if hypothesis.finished or stopped else "length",
        }
