"""The paper's table on a corpus: ``python -m dvs2s.cli.table experiment=dailydialog``.

Trains what is not trained, answers what is not answered, measures, and writes Markdown, CSV, JSON
and pictures. What is done stays done: the same command goes on after a kill, and does nothing when
everything is there.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dvs2s import topics
from dvs2s.build import prepared_data
from dvs2s.cli.entry import run
from dvs2s.cli.table_answers import answer_missing
from dvs2s.cli.table_options import TableConfig
from dvs2s.cli.table_plan import Plan, make_plan
from dvs2s.cli.table_training import train_missing
from dvs2s.cli.table_yardstick import file_digest, vectors_path, yardstick
from dvs2s.config import SearchConfig
from dvs2s.data.corpus import PreparedData
from dvs2s.devices import check_device
from dvs2s.errors import ConfigError, Interrupted
from dvs2s.evaluation.vectors import check_gensim
from dvs2s.table.decode import Stopped
from dvs2s.table.measure import measure_rows
from dvs2s.table.origin import commit, describe_configuration, machine
from dvs2s.table.plots import check_matplotlib, plots
from dvs2s.table.render import to_csv, to_markdown
from dvs2s.table.result import Result
from dvs2s.table.row import Effort, Row
from dvs2s.table.rows import Workshop
from dvs2s.training.files import replace_text
from dvs2s.training.lock import RunLock
from dvs2s.training.signals import StopSignal

logger = logging.getLogger("dvs2s")


def main(config: TableConfig) -> None:
    """Makes the table, or says that it is there.

    Raises:
        Interrupted: a signal came; what is done is kept.
    """
    check_device(config.trainer.device, "trainer.device")
    check_matplotlib()  # what is missing is said before hours of training, not after
    if config.table.vectors:
        file_digest(config.table.vectors)
    else:
        check_gensim()
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    data = prepared_data(config.data, progress=config.trainer.progress != "none")
    if config.table.split not in data.splits:
        raise ConfigError(
            f"table.split must be one of {', '.join(data.splits)}, got {config.table.split!r}"
        )
    plan = make_plan(config, data)
    if any(training.model.num_topics for training in plan.trainings.values()):
        topics.check_gensim()
    train_missing(plan, data)
    stop = StopSignal()
    shop = new_shop(config, plan, data, stop)
    key = result_key(config, plan, data, shop)
    with stoppable(stop, config):
        if not _is_current(plan, key):
            answer_missing(shop, stop=stop, show=config.trainer.progress != "none")
    # of several commands for one table, one measures it, and the others find it made
    with RunLock(Path(config.table.work), wait=True), stoppable(stop, config):
        made = not _is_current(plan, key)
        if made:
            for row in plan.rows:
                for seed in range(len(row.runs)):
                    shop.export(row, seed)
            result = measure(config, plan, data, shop=shop, key=key, stop=stop)
            if stop.requested:
                raise Stopped
            write(plan, result)
    print(f"{plan.results}: {'written' if made else 'up to date, nothing to do'}")


@contextmanager
def stoppable(stop: StopSignal, config: TableConfig) -> Iterator[None]:
    """Notes signals while the ``with`` block lasts, and explains what they stopped.

    Not while a lock is waited for, which a noted signal would not end.

    Raises:
        Interrupted: in place of ``Stopped``.
    """
    with stop:
        try:
            yield
        except Stopped:
            raise Interrupted(
                f"interrupted, what is done is in {config.table.work}: the same command continues"
            ) from None


def new_shop(config: TableConfig, plan: Plan, data: PreparedData, stop: StopSignal) -> Workshop:
    """Returns what answers and times the rows."""
    return Workshop(
        plan.rows,
        data,
        Path(config.table.work),
        effort(config),
        stop=lambda: stop.requested,
    )


def result_key(config: TableConfig, plan: Plan, data: PreparedData, shop: Workshop) -> str:
    """Returns what names the result: it changes with anything that it comes from."""
    parts = [shop.table_key(), str(config.table.resamples), vectors_path(config, data).name]
    parts += [file_digest(config.table.vectors), plan.baseline]
    return "|".join(parts)


def measure(
    config: TableConfig,
    plan: Plan,
    data: PreparedData,
    *,
    shop: Workshop,
    key: str,
    stop: StopSignal,
) -> Result:
    """Returns the numbers of all rows, timed and with their origin.

    Raises:
        Stopped: a signal came.
    """
    options, show = config.table, config.trainer.progress != "none"
    files = {row.name: [shop.file(row, seed) for seed in range(len(row.runs))] for row in plan.rows}
    replies = {
        name: [[list(answer.replies[0].tokens) for answer in file.answers()] for file in some]
        for name, some in files.items()
    }
    stick = yardstick(config, data, stop)
    with tqdm(desc="measuring", file=sys.stderr, disable=None if show else True) as bar:

        def advance(metrics: int) -> None:
            bar.update(metrics)
            if stop.requested:
                raise Stopped

        estimates = measure_rows(
            replies,
            stick,
            baseline=plan.baseline,
            num_resamples=options.resamples,
            advance=advance,
        )
    first = plan.rows[0].name
    plain = {name: _mean([file.metrics() for file in some]) for name, some in files.items()}
    for row in plain.values():
        row.setdefault("mean |T|", float(len(data.vocabulary)))
    return Result(
        name=plan.title,
        key=key,
        baseline=plan.baseline or first,
        estimates=estimates,
        plain=plain,
        times=shop.time(plan.baseline or first),
        trained=shop.trained(),
        notes=stick.notes(replies[first][0]),
        origin=_origin(config, plan, data),
        parameter=plan.parameter,
        points={row.name: row.point for row in plan.rows if row.point},
    )


def write(plan: Plan, result: Result) -> None:
    """Writes all files of a result; table.json last, by which it is known to be complete."""
    drawings = plots(result)
    pictures = "\n\n".join(f"![{name}]({name})" for name in drawings)
    replace_text(plan.results / "table.md", f"{to_markdown(result)}\n{pictures}\n")
    replace_text(plan.results / "table.csv", to_csv(result))
    for name, draw in drawings.items():
        partial = plan.results / f"{name}.part"
        draw(partial)
        partial.replace(plan.results / name)
    replace_text(plan.results / "table.json", result.to_json() + "\n")


def effort(config: TableConfig) -> Effort:
    """Returns how much the options ask for."""
    options = config.table
    return Effort(
        split=options.split,
        limit=options.limit,
        batch_size=options.batch_size,
        tune_messages=options.tune_messages,
        timing_messages=options.timing_messages,
        timing_rounds=options.timing_rounds,
        timing_threads=options.timing_threads,
        timing_engine=options.timing_engine,  # type: ignore[arg-type]
        device=config.trainer.device,
    )


def _mean(several: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in several) / len(several) for name in several[0]}


def _is_current(plan: Plan, key: str) -> bool:
    path = plan.results / "table.json"
    if not path.exists():
        return False
    try:
        return bool(json.loads(path.read_bytes())["key"] == key)
    except (ValueError, KeyError, TypeError):
        logger.warning("%s is damaged and is written anew", path)
        return False


def _origin(config: TableConfig, plan: Plan, data: PreparedData) -> dict[str, Any]:
    manifest = data.manifest
    return {
        "commit": commit(),
        "seeds": {row.name: list(row.seeds) for row in plan.rows},
        "timing": f"{config.table.timing_messages} messages one at a time, "
        f"{config.table.timing_rounds} rounds, threads {config.table.timing_threads}, "
        f"engine={config.table.timing_engine}",
        "data": f"{config.data.name}, fingerprint {data.fingerprint[:16]}, "
        f"{len(data.vocabulary)} words, {manifest.splits['train'].pairs} training pairs",
        "split": f"{config.table.split}, limit {config.table.limit or 'none'}",
        "resamples": config.table.resamples,
        **machine(config.trainer.device),
        "rows": {row.name: _about(row) for row in plan.rows},
        "configurations": {
            f"{model}-{seed}": describe_configuration(training)
            for (model, seed), training in plan.trainings.items()
        },
    }


def _about(row: Row) -> str:
    ranked = f", ranked again: {row.rerank}" if row.rerank else ""
    usual = asdict(SearchConfig())
    kind = {"kind": row.search["kind"], "vocabulary": row.search["vocabulary"]}
    told = {**kind, **{n: v for n, v in row.search.items() if v != usual[n]}}
    settings = " ".join(f"{name}={value}" for name, value in told.items())
    return f"{row.runs[0].name.rpartition('-')[0]} {settings}{ranked}"


if __name__ == "__main__":
    run("table", TableConfig, main)
