"""A line of the table, and how much of it is measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvs2s.backends import EngineChoice
from dvs2s.decoding.mmi import Kind
from dvs2s.table.result import Point


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        name: of the row.
        runs: one run's folder a seed.
        search: all settings, by name.
        rerank: how the n-best list is ranked again; None for not at all.
        partners: for ``rerank`` one run's folder a seed.
        point: its place in a study.
        seeds: of the runs, by which their files are named; empty for 0, 1, ...
    """

    name: str
    runs: tuple[Path, ...]
    search: Mapping[str, Any]
    rerank: Kind | None = None
    partners: tuple[Path, ...] = ()
    point: Point | None = None
    seeds: tuple[int, ...] = ()

    def seed_of(self, place: int) -> int:
        """Returns the seed of the run at a place."""
        return self.seeds[place] if self.seeds else place


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Args:
        split: train, valid or test.
        limit: pairs; 0 for all.
        batch_size: messages at a time.
        tune_messages: validation pairs that weights of reranking are chosen on.
        timing_messages, timing_rounds: 0 messages for no timing.
        timing_threads: of every row while it is timed.
        timing_engine: what decodes every row while it is timed.
        device: where the models run.
    """

    split: str = "test"
    limit: int = 0
    batch_size: int = 32
    tune_messages: int = 300
    timing_messages: int = 40
    timing_rounds: int = 5
    timing_threads: int = 1
    timing_engine: EngineChoice = "plain"
    device: str = "cpu"
