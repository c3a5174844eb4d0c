"""A row's runs: whether they are of the table's data, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dvs2s.build import model_sizes
from dvs2s.config import PLAIN
from dvs2s.data.corpus import PreparedData
from dvs2s.errors import DataError
from dvs2s.loading import read_train_config
from dvs2s.model import Dvs2sModel
from dvs2s.training.checkpoint import read_config, read_state, resolve


@dataclass(frozen=True)
class Trained:
    """The cost of one run, or the means of several.

    Args:
        parameters: of the model, as it answers: without a word predictor that nobody trained.
        updates: made.
        seconds: spent in training and validation, on whatever machine it was.
    """

    parameters: float
    updates: float
    seconds: float

    def __add__(self, other: "Trained") -> "Trained":
        return Trained(
            self.parameters + other.parameters,
            self.updates + other.updates,
            self.seconds + other.seconds,
        )


def check_same_data(name: str, run: Path, data: PreparedData) -> None:
    """Checks that a run was trained on these data and this vocabulary.

    Raises:
        DataError: it was not: numbers of different corpora do not belong in one table.
    """
    folder = resolve(run, "best")
    made = read_config(folder)["fingerprints"]
    for what, here in (("data", data.fingerprint), ("vocabulary", data.vocabulary.fingerprint)):
        if made.get(what) != here:
            raise DataError(
                f"row {name!r} was trained with another {what} than this table's ({run}): rows of "
                f"different {what} are not comparable; train it anew or leave it out"
            )


def cost_of_runs(runs: Sequence[Path], data: PreparedData) -> Trained:
    """Returns the mean cost of the runs of several seeds.

    Args:
        runs: at least one run's folder.
        data: that they were trained on.
    """
    costs = [_cost(run, data) for run in runs]
    total = sum(costs[1:], start=costs[0])
    number = len(costs)
    return Trained(total.parameters / number, total.updates / number, total.seconds / number)


def _cost(run: Path, data: PreparedData) -> Trained:
    config = read_train_config(resolve(run, "best"))
    with torch.device("meta"):  # sizes without weights
        model = Dvs2sModel(model_sizes(config.model, data.vocabulary))
    unused = "word_predictor." if config.objective.kind in PLAIN else None
    parameters = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if unused is None or not name.startswith(unused)
    )
    state = read_state(resolve(run, "last"))["loop"]
    return Trained(parameters, state["update"], state["seconds"])
