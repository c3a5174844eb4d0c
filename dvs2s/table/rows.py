"""Trained runs become replies, replies become a result. Every step is kept and not made twice."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from dvs2s.backends import EngineChoice
from dvs2s.build import new_shortlist
from dvs2s.config import SHORTLISTS
from dvs2s.coverage.generic import GenericBound, as_content, from_content
from dvs2s.data.corpus import PreparedData
from dvs2s.decoding.mmi import Weights
from dvs2s.loading import load
from dvs2s.reranking import Partner
from dvs2s.responder import Responder
from dvs2s.shortlists import Shortlist
from dvs2s.table.decode import Advance, Speaker, Task, decode, rerank
from dvs2s.table.held_out import chosen_weights, priced_bound
from dvs2s.table.replies import ReplyFile
from dvs2s.table.row import Effort, Row
from dvs2s.table.timing import Times, time_rows
from dvs2s.table.trained import Trained, check_same_data, cost_of_runs
from dvs2s.training.checkpoint import resolve
from dvs2s.training.files import replace_text
from dvs2s.training.lock import RunLock

logger = logging.getLogger("dvs2s")
_FORMAT = 1


class Workshop:
    """Makes what a table needs out of trained runs.

    Args:
        rows: with trained runs.
        data: that all of them were trained on.
        work: where replies and times are kept.
        effort: how much is measured.
        stop: asked between batches.

    Raises:
        DataError: a run was trained on other data or another vocabulary, or replies are damaged.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        data: PreparedData,
        work: Path,
        effort: Effort,
        *,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.rows, self._data, self._work, self._effort = rows, data, work, effort
        self._stop = stop
        self._shortlists: dict[str, Shortlist] = {}
        for row in rows:
            for run in (*row.runs, *row.partners):
                check_same_data(row.name, run, data)

    def key(self, row: Row, seed: int) -> str:
        """Returns what names a row's replies: it changes with anything that they come from."""
        row = self._shared(row)
        parts: list[Any] = [_FORMAT, self._data.fingerprint, self._effort.split, self._effort.limit]
        parts += [_checkpoint_digest(row.runs[seed]), dict(sorted(row.search.items()))]
        tuned = self._effort.tune_messages
        if row.rerank:
            parts += [row.rerank, _checkpoint_digest(row.partners[seed]), tuned]
        if row.search["generic_share"] < 1:
            parts += [tuned]
        return _digest(parts)

    def table_key(self) -> str:
        """Returns what names the whole: rows, replies, and how they are timed."""
        rows = [[row.name, [self.key(row, s) for s in range(len(row.runs))]] for row in self.rows]
        effort = self._effort
        timing = [effort.timing_messages, effort.timing_rounds, effort.device]
        timing += [effort.timing_threads, effort.timing_engine]
        return _digest([rows, timing])

    def file(self, row: Row, seed: int) -> ReplyFile:
        """Returns where the replies of a row and seed are."""
        return ReplyFile(self._work / "decoded" / self.key(row, seed))

    def num_messages(self) -> int:
        """Returns how many messages are answered a row and seed."""
        return len(self._task().messages())

    def answer(self, row: Row, seed: int, *, advance: Advance = lambda messages: None) -> None:
        """Makes the replies of a row and seed unless they are there.

        Raises:
            InUseError: another process makes them, or those that they are chosen from.
            Stopped: the rest is made by the next call.
        """
        row = self._shared(row)
        file = self.file(row, seed)
        if not file.is_complete:
            with RunLock(self._work / "locks", name=self.key(row, seed)):
                if not file.is_complete:  # by another process, just now
                    self._make(row, seed, file, advance)
                    return
        advance(self.num_messages())

    def export(self, row: Row, seed: int) -> Path:
        """Writes a row's replies in the form of ``dvs2s.cli.evaluate replies=...``."""
        name = f"{row.name.replace('/', '-')}-{row.seed_of(seed)}.jsonl"
        path = self._work / "replies" / name
        task, decoded = self._task(), self.file(row, seed).answers()
        decode_ids = self._data.vocabulary.decode
        lines = [
            json.dumps(
                {
                    "message": " ".join(decode_ids(message.tolist())),
                    "reply": " ".join(answer.replies[0].tokens),
                    "references": [" ".join(reference) for reference in references],
                },
                ensure_ascii=False,
            )
            for message, references, answer in zip(
                task.messages(), task.references(), decoded, strict=True
            )
        ]
        replace_text(path, "".join(f"{line}\n" for line in lines))
        return path

    def speaker(self, row: Row, seed: int, *, engine: EngineChoice = "auto") -> Speaker:
        """Returns what answers as a row does.

        Raises:
            Stopped: weights of reranking were being chosen.
        """
        base = self._nbest(row) if row.rerank else row
        responder = self._responder(base, seed, engine)
        search = responder.search_config(**base.search)
        if row.rerank is None:
            return Speaker(responder, search)
        partner = Partner(load(row.partners[seed], device=self._effort.device), row.rerank)
        weights = self._weights(row, seed, Speaker(responder, search), partner)
        return Speaker(responder, search, partner, weights)

    def time(
        self, baseline: str, *, advance: Callable[[int], object] = lambda rows: None
    ) -> dict[str, Times]:
        """Times every row with its first seed, unless that has been done; {} where not wanted."""
        effort = self._effort
        if not effort.timing_messages:
            return {}
        path = self._work / f"times-{self.table_key()}.json"
        if path.exists():
            content = json.loads(path.read_bytes())
            return {name: Times(**values) for name, values in content.items()}
        messages = self._task().messages()
        chosen = messages[:: max(len(messages) // effort.timing_messages, 1)]
        with _threads(effort.timing_threads):
            engine = effort.timing_engine
            times = time_rows(
                {row.name: self.speaker(row, 0, engine=engine) for row in self.rows},
                chosen[: effort.timing_messages],
                baseline=baseline,
                rounds=effort.timing_rounds,
                advance=advance,
            )
        replace_text(path, json.dumps({name: asdict(value) for name, value in times.items()}))
        return times

    def trained(self) -> dict[str, Trained]:
        """Returns what the models of each row cost, a partner's included."""
        found = {}
        for row in self.rows:
            found[row.name] = cost_of_runs(row.runs, self._data)
            if row.rerank:
                found[row.name] += cost_of_runs(row.partners, self._data)
        return found

    def _make(self, row: Row, seed: int, file: ReplyFile, advance: Advance) -> None:
        if row.rerank is None:
            speaker = self.speaker(row, seed)
            decode(speaker, self._task(), file, stop=self._stop, advance=advance)
        else:
            source = self._nbest(row)
            self.answer(source, seed)
            speaker = self.speaker(row, seed)
            source_file = self.file(source, seed)
            rerank(speaker, self._task(), source_file, file, stop=self._stop, advance=advance)

    def _shared(self, row: Row) -> Row:
        """Returns the row with its whole n-best list where a reranked row starts from the same."""
        starts = [(r.runs, dict(r.search)) for r in self.rows if r.rerank]
        is_start = row.rerank is None and (row.runs, dict(row.search)) in starts
        # a row that does not search with a beam has other replies than the list starts with
        return self._nbest(row) if is_start and row.search["kind"] == "beam" else row

    def _nbest(self, row: Row) -> Row:
        """Returns the row that a reranked one chooses from: all that the beam ends with."""
        kind = "diverse_beam" if row.search["kind"] == "diverse_beam" else "beam"
        search = {**row.search, "kind": kind, "num_best": row.search["beam"]}
        return replace(row, search=search, rerank=None, partners=())

    def _responder(self, row: Row, seed: int, engine: EngineChoice) -> Responder:
        responder = load(row.runs[seed], device=self._effort.device, engine=engine)
        if row.search["generic_share"] < 1:
            responder.generic = self._generic(row, seed, responder)
        kind = row.search.get("vocabulary")
        if kind in SHORTLISTS:
            if kind not in self._shortlists:
                logger.info("counting the training pairs for the %s shortlist", kind)
                self._shortlists[kind] = new_shortlist(kind, self._data)
            responder.shortlists[kind] = self._shortlists[kind]
        return responder

    def _task(self) -> Task:
        effort = self._effort
        return Task(self._data, effort.split, effort.limit, effort.batch_size)

    def _weights(self, row: Row, seed: int, plain: Speaker, partner: Partner) -> Weights:
        path = self._work / f"weights-{self.key(row, seed)}.json"
        if not path.exists():
            weights = chosen_weights(self._held_out(), plain, partner, stop=self._stop)
            logger.info("%s: λ = %g, γ = %g", row.name, weights.partner, weights.length)
            replace_text(path, json.dumps(asdict(weights)))
        return Weights(**json.loads(path.read_bytes()))

    def _generic(self, row: Row, seed: int, responder: Responder) -> GenericBound:
        path = self._work / f"generic-{self.key(row, seed)}.json"
        if not path.exists():
            bound = priced_bound(
                self._held_out(), responder, row.search, row=row.name, stop=self._stop
            )
            replace_text(path, json.dumps(as_content(bound)))
        return from_content(json.loads(path.read_bytes()))

    def _held_out(self) -> Task:
        split = "valid" if "valid" in self._data.splits else "train"
        return Task(self._data, split, self._effort.tune_messages, self._effort.batch_size)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _checkpoint_digest(run: Path) -> str:
    folder = resolve(run, "best")
    return hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


def _digest(parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
