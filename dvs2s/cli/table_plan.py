"""What a table needs: which runs, trained how, and which rows are made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from dvs2s.cli.entry import composed_as
from dvs2s.cli.table_options import TableConfig, TableOptions
from dvs2s.config import TrainConfig
from dvs2s.data.corpus import PreparedData
from dvs2s.errors import ConfigError
from dvs2s.table.row import Row
from dvs2s.table.studies import PARAMETERS, Variant, variants


@dataclass(frozen=True)
class Plan:
    """What the command line asks for.

    Args:
        trainings: configuration of every run, by model and seed.
        rows: of the table, with their runs.
        title: of the table.
        results: folder of the result.
        baseline: the row to compare with; empty for none.
        parameter: what a study varies; empty for a table.
    """

    trainings: dict[tuple[str, int], TrainConfig]
    rows: list[Row]
    title: str
    results: Path
    baseline: str
    parameter: str = ""


def make_plan(config: TableConfig, data: PreparedData) -> Plan:
    """Returns rows and trainings of a table, or of the study that ``table.study`` names.

    Raises:
        ConfigError: no rows, or a model's overrides do not compose.
    """
    return _study(config, data) if config.table.study else _table(config)


def _table(config: TableConfig) -> Plan:
    options = config.table
    chosen = {n: r for n, r in options.rows.items() if not options.only or n in options.only}
    if not chosen:
        raise ConfigError("table.rows names no row: nothing to do")
    wanted: dict[str, list[int]] = {}
    for row in chosen.values():
        for model in (row.model, row.partner) if row.rerank else (row.model,):
            wanted.setdefault(model, []).extend(row.seeds or options.seeds)
    models = {name: model for name, model in options.models.items() if name in wanted}
    trainings = _trainings(
        config,
        {name: tuple(model.overrides) for name, model in models.items()},
        {name: sorted(set(wanted[name])) for name in models},
    )
    rows = []
    for name, row in chosen.items():
        seeds = tuple(row.seeds or options.seeds)
        rows.append(
            Row(
                name,
                _folders(trainings, row.model, seeds),
                _search(trainings[row.model, seeds[0]], row.search.given()),
                row.rerank or None,  # type: ignore[arg-type]
                _folders(trainings, row.partner, seeds) if row.rerank else (),
                seeds=seeds,
            )
        )
    baseline = options.baseline if options.baseline in chosen else ""
    return Plan(trainings, rows, options.name, Path(options.results), baseline)


def _study(config: TableConfig, data: PreparedData) -> Plan:
    options = config.table
    found = _variants(options, data)
    own = options.models
    # a model of the table is trained as the table says, so that its runs serve both
    overrides = {
        v.model: tuple(own[v.model].overrides) if v.model in own else v.overrides for v in found
    }
    seeds = tuple(options.seeds)
    trainings = _trainings(config, overrides, dict.fromkeys(overrides, options.seeds))
    rows = [
        Row(
            v.name,
            _folders(trainings, v.model, seeds),
            _search(trainings[v.model, seeds[0]], v.search),
            point=v.point,
            seeds=seeds,
        )
        for v in found
    ]
    title = f"{options.name}: {options.study}"
    results = Path(options.results) / f"study-{options.study}"
    return Plan(trainings, rows, title, results, "", PARAMETERS[options.study])


def _variants(options: TableOptions, data: PreparedData) -> list[Variant]:
    values = options.values
    match options.study:
        case "size":
            words, fixed = len(data.vocabulary), data.vocabulary.num_fixed
            inside = sorted({size for size in values.sizes if fixed < size < words})
            return variants("size", [*inside, words])
        case "alpha":
            return variants("alpha", values.alphas)
        case "exponent":
            return variants("exponent", values.exponents)
    return variants("price", values.prices)


def _trainings(
    config: TableConfig, overrides: dict[str, tuple[str, ...]], seeds: Mapping[str, Sequence[int]]
) -> dict[tuple[str, int], TrainConfig]:
    options, found = config.table, {}
    for name, own in overrides.items():
        model = options.models.get(name)
        default = str(Path(options.work) / "models" / f"{name}-{{seed}}")
        pattern = model.run if model and model.run else default
        if "{seed}" not in pattern and len(seeds[name]) > 1:
            raise ConfigError(
                f"table.models.{name}.run must hold {{seed}} for {len(seeds[name])} seeds, "
                f"got {pattern!r}"
            )
        for seed in seeds[name]:
            found[name, seed] = _compose(own, pattern.replace("{seed}", str(seed)), seed)
    return found


def _compose(overrides: Sequence[str], run: str, seed: int) -> TrainConfig:
    """Returns what ``dvs2s.cli.train`` would read with the table's options and a model's on top."""
    given = [o for o in HydraConfig.get().overrides.task if not o.lstrip("+~").startswith("table.")]
    own = [f"trainer.run='{run}'", f"trainer.seed={seed}"]
    return composed_as("train", TrainConfig, [*given, *overrides, *own])


def _search(training: TrainConfig, own: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how a row searches: as this command says, whatever an older run was trained under."""
    return {**asdict(training.search), **own}


def _folders(
    trainings: dict[tuple[str, int], TrainConfig], model: str, seeds: Sequence[int]
) -> tuple[Path, ...]:
    return tuple(Path(trainings[model, seed].trainer.run) for seed in seeds)
