"""The engine's flat tables as hypotheses and vocabularies."""

from dataclasses import dataclass

from torch import Tensor

from dvs2s.decoding.protocol import Hypothesis


@dataclass(frozen=True)
class Decoded:
    """What became of one message.

    Args:
        replies: best first.
        words: the ids of its vocabulary, rising; a hypothesis' slots are places in it.
        log_odds: (content words of the vocabulary,) float32, the logits of β in the order of
            ``words``; empty where they were neither needed nor wanted.
    """

    replies: list[Hypothesis]
    words: list[int]
    log_odds: Tensor


def read_tables(tables: tuple[Tensor, ...]) -> list[Decoded]:
    """Returns the messages' results from what ``engine_take`` returns."""
    ids, id_counts, odds, odd_counts, reply_counts, meta, slots, values, scores = tables
    replies = _replies(meta, slots.tolist(), values.tolist(), scores)
    found: list[Decoded] = []
    all_ids = ids.tolist()
    at_id = at_odds = at_reply = 0
    counts = zip(id_counts.tolist(), odd_counts.tolist(), reply_counts.tolist(), strict=True)
    for num_ids, num_odds, num_replies in counts:
        found.append(
            Decoded(
                replies[at_reply : at_reply + num_replies],
                all_ids[at_id : at_id + num_ids],
                odds[at_odds : at_odds + num_odds],
            )
        )
        at_id, at_odds, at_reply = at_id + num_ids, at_odds + num_odds, at_reply + num_replies
    return found


def _replies(
    meta: Tensor, slots: list[int], values: list[float], scores: Tensor
) -> list[Hypothesis]:
    made = []
    at_slot = at_value = 0
    rows = zip(meta.view(-1, 3).tolist(), scores.view(-1, 2).tolist(), strict=True)
    for (num_slots, num_values, finished), (score, log_prob) in rows:
        made.append(
            Hypothesis(
                slots=tuple(slots[at_slot : at_slot + num_slots]),
                score=score,
                log_prob=log_prob,
                token_log_probs=tuple(values[at_value : at_value + num_values]),
                finished=bool(finished),
            )
        )
        at_slot, at_value = at_slot + num_slots, at_value + num_values
    return made
