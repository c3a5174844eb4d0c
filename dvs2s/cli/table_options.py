"""The options of ``python -m dvs2s.cli.table``."""

from dataclasses import dataclass, field

from dvs2s.cli.configs import SearchOverrides
from dvs2s.config import TrainConfig
from dvs2s.errors import ConfigError

STUDIES = ("", "size", "alpha", "exponent", "price")


@dataclass
class ModelOptions:
    """How a model is trained: overrides of ``dvs2s.cli.train``, and where its runs are.

    ``run`` may hold ``{seed}``; empty for a folder of the table's own.
    """

    overrides: list[str] = field(default_factory=list)
    run: str = ""


@dataclass
class RowOptions:
    """A line of the table: a model, how it searches, and how its n-best list is ranked again.

    ``seeds`` are its own where it has fewer than the table; empty for the table's.
    """

    model: str = ""
    search: SearchOverrides = field(default_factory=SearchOverrides)
    rerank: str = ""
    partner: str = ""
    seeds: list[int] = field(default_factory=list)


@dataclass
class StudyOptions:
    """The values along each curve."""

    sizes: list[int] = field(default_factory=lambda: [250, 500, 1000, 2000, 4000, 8000])
    alphas: list[float] = field(default_factory=lambda: [0.0, 0.25, 0.5, 0.75, 1.0])
    exponents: list[float] = field(default_factory=lambda: [0.0, 0.5, 0.75, 1.0])
    prices: list[float] = field(default_factory=lambda: [0.0, 0.001, 0.003, 0.01])


@dataclass
class TableOptions:
    """What is in the table and how much is measured."""

    name: str = "${data.name}"
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    models: dict[str, ModelOptions] = field(default_factory=dict)
    rows: dict[str, RowOptions] = field(default_factory=dict)
    only: list[str] = field(default_factory=list)
    baseline: str = "S2SA"
    study: str = ""
    values: StudyOptions = field(default_factory=StudyOptions)
    split: str = "test"
    limit: int = 0
    batch_size: int = 32
    resamples: int = 1000
    tune_messages: int = 300
    timing_messages: int = 40
    timing_rounds: int = 5
    timing_threads: int = 1
    timing_engine: str = "plain"
    vectors: str = ""
    work: str = "runs/table/${table.name}"
    results: str = "benchmarks/results/${table.name}"

    def __post_init__(self) -> None:
        if self.split not in ("train", "valid", "test"):
            raise ConfigError(f"table.split must be one of train, valid, test, got {self.split!r}")
        if self.study not in STUDIES:
            named = ", ".join(STUDIES[1:])
            raise ConfigError(f"table.study must be empty or one of {named}, got {self.study!r}")
        for name, low in _LEAST.items():
            if getattr(self, name) < low:
                raise ConfigError(f"table.{name} must be at least {low}, got {getattr(self, name)}")
        if self.timing_engine not in ("plain", "auto"):
            raise ConfigError(
                f"table.timing_engine must be plain or auto, got {self.timing_engine!r}"
            )
        if not self.seeds:
            raise ConfigError("table.seeds must hold at least one seed, got none")
        _check_seeds("table.seeds", self.seeds)
        self._check_rows()

    def _check_rows(self) -> None:
        """Checks that rows name models, partners and baselines that are there."""
        for name, row in self.rows.items():
            _check_seeds(f"table.rows.{name}.seeds", row.seeds)
            if row.model not in self.models:
                raise ConfigError(
                    f"table.rows.{name}.model must be one of {', '.join(self.models)}, "
                    f"got {row.model!r}"
                )
            if row.rerank not in ("", "anti_lm", "bidirectional"):
                raise ConfigError(
                    f"table.rows.{name}.rerank must be empty, anti_lm or bidirectional, "
                    f"got {row.rerank!r}"
                )
            if row.rerank and row.partner not in self.models:
                raise ConfigError(
                    f"table.rows.{name}.partner must be one of {', '.join(self.models)}, "
                    f"got {row.partner!r}"
                )
            share = row.search.given().get("generic_share", 1.0)
            if row.rerank and share < 1:
                raise ConfigError(
                    f"table.rows.{name} must be ranked again or have a generic_share below 1, "
                    f"got both: rerank={row.rerank} and search.generic_share={share:g}"
                )
        unknown = [name for name in self.only if name not in self.rows]
        if unknown:
            raise ConfigError(
                f"table.only must name rows among {', '.join(self.rows)}, got {unknown[0]!r}"
            )


def _check_seeds(name: str, seeds: list[int]) -> None:
    if len(set(seeds)) < len(seeds) or min(seeds, default=0) < 0:
        raise ConfigError(f"{name} must be different numbers of 0 or more, got {seeds}")


_LEAST = {
    "limit": 0,
    "batch_size": 1,
    "resamples": 100,
    "tune_messages": 1,
    "timing_messages": 0,
    "timing_rounds": 1,
    "timing_threads": 1,
}


@dataclass
class TableConfig(TrainConfig):
    """Everything ``python -m dvs2s.cli.table`` reads: training's options and the table's."""

    table: TableOptions = field(default_factory=TableOptions)
