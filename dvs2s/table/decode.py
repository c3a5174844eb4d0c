"""A row's replies to every different message of a split, resumable."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvs2s.answer import Answer
from dvs2s.config import SearchConfig
from dvs2s.data.batch import make_batch
from dvs2s.data.corpus import PreparedData
from dvs2s.decoding.mmi import Weights
from dvs2s.reranking import Partner, reranked
from dvs2s.responder import Responder
from dvs2s.scoring import grouped, likelihood
from dvs2s.table.replies import ReplyFile

Ids = NDArray[np.integer]
Advance = Callable[[int], object]


class Stopped(Exception):
    """A signal came; what is done is on disk."""


@dataclass(frozen=True)
class Speaker:
    """How a row answers: a model, a search, and perhaps a partner that ranks again.

    Args:
        responder: the model.
        search: how, and over which words.
        partner: None for the search's own order.
        weights: of the partner.
    """

    responder: Responder
    search: SearchConfig
    partner: Partner | None = None
    weights: Weights | None = None

    def answers(self, messages: Sequence[Ids], seeds: Sequence[int]) -> list[Answer]:
        """Returns the answers to messages of ids; ``seeds`` are those of samples."""
        batch = make_batch(messages, None, range(len(messages))).to(self.responder.device)
        found = self.responder.answers_to_batch(batch, self.search, input_seeds=seeds)
        return self.ranked(messages, found)

    def ranked(self, messages: Sequence[Ids], answers: Sequence[Answer]) -> list[Answer]:
        """Returns answers that the model gave in the row's order."""
        if self.partner is None or self.weights is None:
            return list(answers)
        candidates = self.partner.candidates(messages, answers)
        return [
            reranked(answer, some, self.weights)
            for answer, some in zip(answers, candidates, strict=True)
        ]


@dataclass(frozen=True)
class Task:
    """What is answered.

    Args:
        data: prepared with the models' vocabulary.
        split: train, valid or test.
        limit: pairs from the start of the split; 0 for all.
        batch_size: messages at a time.
    """

    data: PreparedData
    split: str
    limit: int
    batch_size: int

    @property
    def num_pairs(self) -> int:
        """Pairs that are measured."""
        size = len(self.data.split(self.split))
        return min(self.limit or size, size)

    def groups(self) -> list[list[int]]:
        """Returns the pairs of each different message, in order of appearance."""
        return grouped(self.data.split(self.split), self.num_pairs)

    def messages(self) -> list[Ids]:
        """Returns each different message once."""
        corpus = self.data.split(self.split)
        return [corpus.message(group[0]) for group in self.groups()]

    def references(self) -> list[list[list[str]]]:
        """Returns for each message its responses, as words."""
        corpus, decode = self.data.split(self.split), self.data.vocabulary.decode
        return [[decode(corpus.response(i).tolist()) for i in group] for group in self.groups()]


def decode(
    speaker: Speaker,
    task: Task,
    file: ReplyFile,
    *,
    stop: Callable[[], bool] = lambda: False,
    advance: Advance = lambda messages: None,
) -> None:
    """Answers what the file does not hold yet, then measures likelihood and recall, and finishes.

    Args:
        speaker: of the row, without its partner: ranking again is ``rerank``.
        task: what to answer.
        file: continued, or left alone when complete.
        stop: asked between batches.
        advance: told how many messages are done.

    Raises:
        Stopped: ``stop`` said so; the file continues there.
    """
    if file.is_complete:
        return
    messages, done = task.messages(), file.done()
    advance(len(done))
    order = sorted(set(range(len(messages))) - done, key=lambda i: (len(messages[i]), i))
    for first in range(0, len(order), task.batch_size):
        if stop():
            raise Stopped
        chosen = order[first : first + task.batch_size]
        # the seed is the place, so that a sample does not depend on the batch
        file.append(chosen, speaker.answers([messages[i] for i in chosen], chosen))
        advance(len(chosen))
    if stop():
        raise Stopped
    corpus = task.data.split(task.split)
    file.finish(
        likelihood(
            speaker.responder,
            task.data,
            corpus,
            task.num_pairs,
            speaker.search,
            task.batch_size,
            lambda pairs: None,
        )
    )


def rerank(
    speaker: Speaker,
    task: Task,
    source: ReplyFile,
    file: ReplyFile,
    *,
    stop: Callable[[], bool] = lambda: False,
    advance: Advance = lambda messages: None,
) -> None:
    """Ranks the replies of a complete file again, into another; arguments as of ``decode``.

    Raises:
        Stopped: ``stop`` said so; the file continues there.
    """
    if file.is_complete:
        return
    messages, answers, done = task.messages(), source.answers(), file.done()
    advance(len(done))
    order = [i for i in range(len(messages)) if i not in done]
    for first in range(0, len(order), task.batch_size):
        if stop():
            raise Stopped
        chosen = order[first : first + task.batch_size]
        some = [messages[i] for i in chosen], [answers[i] for i in chosen]
        file.append(chosen, speaker.ranked(*some))
        advance(len(chosen))
    file.finish(source.metrics())
