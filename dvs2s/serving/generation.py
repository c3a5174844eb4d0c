"""A few messages answered together by the plain search, word by word."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dvs2s.config import SearchConfig
from dvs2s.decoding.protocol import Hypothesis, StepModel
from dvs2s.decoding.search import search
from dvs2s.decoding.session import Session
from dvs2s.dynamic_vocab import DynamicVocab
from dvs2s.responder import Responder
from dvs2s.serving.bias import Biased, slot_bias
from dvs2s.serving.pieces import Pieces
from dvs2s.serving.report import Report
from dvs2s.serving.wire import Event, Job
from dvs2s.serving.wordlists import word_table
from dvs2s.text.specials import EOS

Emit = Callable[[Event], None]


class Generation:
    """One batch of jobs that share model and settings of search.

    A reply does not depend on who shares the batch.

    Args:
        responder: a loaded checkpoint.
        config: the search of all of them.
        jobs: at least one.
        emit: is given the events, as soon as they are known.
        is_cancelled: whether nobody waits for a job any more; asked before every word.
        between: is called before every word, once for all.
    """

    def __init__(
        self,
        responder: Responder,
        config: SearchConfig,
        jobs: Sequence[Job],
        *,
        emit: Emit,
        is_cancelled: Callable[[int], bool],
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self._bot, self._config, self._jobs = responder, config, list(jobs)
        self._emit, self._is_cancelled, self._between = emit, is_cancelled, between
        self._report = Report(responder)
        self._pieces = [Pieces(responder.detokenize, job.stop) for job in jobs]
        self._rows: list[list[int]] = []
        self._betas: list[Tensor] = []
        self._prompts: list[int] = []
        self._seconds: dict[str, float] = {}

    @torch.inference_mode()
    def run(self) -> None:
        """Answers every job: its last event is ``done``, unless it was cancelled."""
        bot, config = self._bot, self._config
        batch = bot.batch([job.turns for job in self._jobs])
        self._prompts = batch.message_lengths.tolist()
        seeds = [job.seed for job in self._jobs]
        encoded = self._timed("encode", lambda: bot.encode(batch, config, seeds))
        log_odds = self._timed("predict", lambda: bot.log_odds(encoded, config).float())
        allowed = self._allowed()
        vocab = self._timed(
            "select", lambda: bot.selector(config, log_odds, batch.messages, allowed)
        )
        self._rows = [vocab.row(index) for index in range(len(self._jobs))]
        self._betas = self._betas_of(log_odds)
        self._tell_words()
        session = Session(bot.model, encoded, vocab, forbidden=None)
        session.allowed &= ~self._forbidden().gather(1, vocab.ids)
        model = self._biased(session, vocab)
        found = self._timed(
            "search",
            lambda: search(model, config.options(), input_seeds=seeds, on_step=self._on_step),
        )
        for index, hypotheses in enumerate(found):
            if not self._is_cancelled(self._jobs[index].id):
                self._finish(index, hypotheses)

    def _timed(self, stage: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        if self._bot.device.type == "cuda":
            torch.cuda.synchronize(self._bot.device)
        self._seconds[stage] = time.perf_counter() - start
        return result

    def _betas_of(self, log_odds: Tensor) -> list[Tensor]:
        """Returns β of each row's content words."""
        fixed = self._bot.vocabulary.num_fixed
        betas = log_odds.sigmoid().cpu()
        return [
            beta[torch.tensor(row[fixed:], dtype=torch.int64) - fixed]
            for beta, row in zip(betas, self._rows, strict=True)
        ]

    def _words(self, word_lists: Sequence[Sequence[str]]) -> Tensor:
        """Returns (B, V) bool, True on each row's words."""
        none = torch.zeros(len(self._bot.vocabulary), dtype=torch.bool, device=self._bot.device)
        tables = [word_table(self._bot, words) for words in word_lists]
        return torch.stack([none if table is None else table for table in tables])

    def _allowed(self) -> Tensor | None:
        if not any(job.allow or job.bias for job in self._jobs):
            return None
        chosen = self._words([job.allow for job in self._jobs])
        for row, job in enumerate(self._jobs):
            chosen[row, [word for word, number in job.bias if number > 0]] = True
        return chosen

    def _forbidden(self) -> Tensor:
        return self._words([job.forbid for job in self._jobs])

    def _biased(self, session: Session, vocab: DynamicVocab) -> StepModel[Any]:
        if not any(job.bias for job in self._jobs):
            return session
        biases = [dict(job.bias) for job in self._jobs]
        return Biased(session, slot_bias(vocab.ids, vocab.keep, biases))

    def _tell_words(self) -> None:
        for index, job in enumerate(self._jobs):
            if job.stream:
                self._emit({"kind": "words", "id": job.id, "vocabulary": self._vocabulary(index)})

    def _vocabulary(self, index: int) -> dict[str, Any]:
        lens = self._jobs[index].lens
        return self._report.vocabulary(self._rows[index], self._betas[index], lens)

    def _on_step(self, inputs: list[int], slots: list[list[int]]) -> list[int]:
        """Sends settled text on; returns the inputs to stop."""
        self._between()
        stopping = []
        for index, new in zip(inputs, slots, strict=True):
            job = self._jobs[index]
            if self._is_cancelled(job.id):
                stopping.append(index)
            elif len(new) == 1 and (job.stream or job.stop) and self._rows[index][new[0]] != EOS:
                if self._next_word(index, job, self._rows[index][new[0]]):
                    stopping.append(index)
        return stopping

    def _next_word(self, index: int, job: Job, word: int) -> bool:
        """Takes one word of one reply; returns whether it completes a text to stop at."""
        pieces = self._pieces[index]
        text = pieces.push(self._bot.vocabulary.word(word))
        if pieces.has_stopped():
            return True
        if job.stream and text:
            self._emit({"kind": "text", "id": job.id, "text": text})
        return False

    def _finish(self, index: int, hypotheses: list[Hypothesis]) -> None:
        job = self._jobs[index]
        row, betas = self._rows[index], self._betas[index]
        replies = [self._report.reply(h, row, betas, job.stop) for h in hypotheses]
        rest = self._pieces[index].finish(replies[0]["text"])
        if job.stream and rest:
            self._emit({"kind": "text", "id": job.id, "text": rest})
        self._emit(
            {
                "kind": "done",
                "id": job.id,
                "replies": replies,
                "vocabulary": self._vocabulary(index),
                "heard": self._report.heard(job),
                "seconds": self._seconds,
                "batch": len(self._jobs),
                "prompt": self._prompts[index],
                **self._report.sources(job, self._config),
            }
        )
