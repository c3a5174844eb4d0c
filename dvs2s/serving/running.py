"""One model's running batch in the compiled engine: jobs join and leave it between steps."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dvs2s.backends import EngineBackend, Limits
from dvs2s.engine.results import Decoded
from dvs2s.engine.session import UNKNOWN_KINDS
from dvs2s.responder import Responder
from dvs2s.serving.pieces import Pieces
from dvs2s.serving.report import Report
from dvs2s.serving.schedule import Waiting
from dvs2s.serving.wire import Event, Job
from dvs2s.serving.wordlists import word_table
from dvs2s.text.specials import EOS

logger = logging.getLogger("dvs2s")

Emit = Callable[[Event], None]
STAGES = ("encode", "predict", "select")


def why_not(job: Job) -> str:
    """Returns why the engine cannot answer a job, or nothing."""
    if job.search["kind"] in UNKNOWN_KINDS:
        return f"it knows no search.kind={job.search['kind']}"
    return "logit_bias changes every step's distribution" if job.bias else ""


@dataclass
class _Member:
    """A job in the batch.

    Args:
        waiting: the job.
        prompt: words of its message.
        seconds: by stage, so far.
        pieces: what streams or stops; None where the reply is known last.
        company: jobs that shared a step with it, itself counted, at most.
    """

    waiting: Waiting
    prompt: int
    seconds: dict[str, float]
    pieces: Pieces | None
    joined: float = field(default_factory=time.perf_counter)
    company: int = 1

    @property
    def job(self) -> Job:
        return self.waiting.job


class RunningBatch:
    """Jobs that share a model's steps. A reply is the same bit for bit in any company.

    Args:
        responder: a loaded checkpoint.
        backend: its engine.
        emit: is given the events, as soon as they are known.
    """

    def __init__(self, responder: Responder, backend: EngineBackend, emit: Emit) -> None:
        self._bot, self._backend, self._emit = responder, backend, emit
        self._session = backend.session()
        self._report = Report(responder)
        self._members: dict[int, _Member] = {}  # by the engine's number
        self._numbers: dict[int, int] = {}  # by job
        self.cells = 0

    def __len__(self) -> int:
        return len(self._members)

    def join(self, newcomers: Sequence[Waiting]) -> None:
        """Lets jobs join at the next step. One that cannot be answered gets its ``error``."""
        groups: dict[Any, list[Waiting]] = {}
        for one in newcomers:
            groups.setdefault((one.key, one.job.allow, one.job.forbid), []).append(one)
        for group in groups.values():
            try:
                self._join_alike(group)
            except (ValueError, RuntimeError):
                for one in group:  # whose fault it was, the others need not feel
                    self._join_or_fail(one)

    def step(self) -> None:
        """Makes one more word for every job; tells what has become certain."""
        company = len(self._members)
        for member in self._members.values():
            member.company = max(member.company, company)
        try:
            made = self._session.step()
        except RuntimeError as error:
            self._fail_all(error)
            return
        stopping = {
            number for number, _, word in made.words if word != EOS and self._push(number, word)
        }
        for number in stopping:
            self._session.stop(number)
        for number in sorted({*made.ended, *stopping}):
            self._end(number)

    def cancel(self, job_id: int) -> None:
        """Frees a job's place at once."""
        number = self._numbers.get(job_id)
        if number is not None:
            self._session.cancel(number)
            self._forget(number)

    def _join_alike(self, group: Sequence[Waiting]) -> None:
        bot, jobs, config = self._bot, [one.job for one in group], group[0].config
        limits = Limits(word_table(bot, jobs[0].allow), word_table(bot, jobs[0].forbid))
        batch = bot.batch([job.turns for job in jobs])
        before = self._session.seconds()
        numbers = self._session.add(
            batch.messages,
            batch.message_lengths,
            config.options(),
            self._backend.words(config, limits),
            input_seeds=[job.seed for job in jobs],
        )
        after = self._session.seconds()
        seconds = {stage: after[stage] - before[stage] for stage in STAGES}
        is_single = config.kind == "greedy" or (config.kind == "sampling" and config.num_best == 1)
        for one, number, prompt in zip(group, numbers, batch.message_lengths.tolist(), strict=True):
            pieces = Pieces(bot.detokenize, one.job.stop)
            waits = is_single and (one.job.stream or one.job.stop)
            self._members[number] = _Member(one, prompt, dict(seconds), pieces if waits else None)
            self._numbers[one.job.id] = number
            self.cells += one.cells
            if one.job.stream:
                row, log_odds = self._session.words(number)
                vocabulary = self._report.vocabulary(row, self._betas(row, log_odds), one.job.lens)
                self._emit({"kind": "words", "id": one.job.id, "vocabulary": vocabulary})

    def _join_or_fail(self, one: Waiting) -> None:
        try:
            self._join_alike([one])
        except (ValueError, RuntimeError) as error:
            logger.exception("a job was not taken")
            self._emit(failure(one.job.id, error))

    def _betas(self, row: Sequence[int], log_odds: Tensor) -> Tensor:
        if self._bot.has_word_predictor:
            return log_odds.sigmoid()
        return torch.ones(len(row) - self._bot.vocabulary.num_fixed)  # every word is certain

    def _push(self, number: int, word: int) -> bool:
        """Takes one word of a reply; returns whether it completes a text to stop at."""
        member = self._members[number]
        if member.pieces is None:
            return False
        text = member.pieces.push(self._bot.vocabulary.word(word))
        if member.pieces.has_stopped():
            return True
        if member.job.stream and text:
            self._emit({"kind": "text", "id": member.job.id, "text": text})
        return False

    def _end(self, number: int) -> None:
        member = self._members[number]
        self._forget(number)
        try:
            decoded = self._session.take([number])[0]
            member.seconds["search"] = time.perf_counter() - member.joined
            self._tell(member, decoded)
        except (ValueError, RuntimeError) as error:
            logger.exception("a job failed")
            self._emit(failure(member.job.id, error))

    def _tell(self, member: _Member, decoded: Decoded) -> None:
        job, row = member.job, decoded.words
        betas = self._betas(row, decoded.log_odds)
        replies = [self._report.reply(r, row, betas, job.stop) for r in decoded.replies]
        if job.stream:
            pieces = member.pieces or Pieces(self._bot.detokenize)
            rest = pieces.finish(replies[0]["text"])
            if rest:
                self._emit({"kind": "text", "id": job.id, "text": rest})
        self._emit(
            {
                "kind": "done",
                "id": job.id,
                "replies": replies,
                "vocabulary": self._report.vocabulary(row, betas, job.lens),
                "heard": self._report.heard(job),
                "seconds": member.seconds,
                "batch": member.company,
                "prompt": member.prompt,
                **self._report.sources(job, member.waiting.config),
            }
        )

    def _forget(self, number: int) -> None:
        member = self._members.pop(number)
        del self._numbers[member.job.id]
        self.cells -= member.waiting.cells

    def _fail_all(self, error: RuntimeError) -> None:
        """Begins anew after an error that belongs to nobody."""
        logger.error("a step of %d jobs failed: %s", len(self), error)
        for number, member in list(self._members.items()):
            self._emit(failure(member.job.id, error))
            self._forget(number)
        self._session.close()
        self._session = self._backend.session()


def failure(job_id: int, error: Exception) -> Event:
    """Returns the event that ends a job which failed; the log has the details."""
    reason = f"{type(error).__name__} in the engine"
    return {"kind": "error", "id": job_id, "status": 500, "reason": reason}
