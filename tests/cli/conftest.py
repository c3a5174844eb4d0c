"""One tiny trained model for all front-end tests, and the commands run in this process."""

import io
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.config_store import ConfigStore

from dvs2s.cli import (
    annotate,
    calibrate,
    chat,
    evaluate,
    generate,
    generic,
    lens,
    prepare,
    sweep,
    table,
    train,
)
from dvs2s.cli.annotate_options import AnnotateConfig
from dvs2s.cli.configs import (
    CalibrateConfig,
    ChatConfig,
    EvaluateConfig,
    GenerateConfig,
    GenericConfig,
    LensConfig,
    PrepareConfig,
)
from dvs2s.cli.entry import as_schema, run
from dvs2s.cli.sweep_options import SummaryConfig
from dvs2s.cli.table_options import TableConfig
from dvs2s.config import TrainConfig
from dvs2s.data.synthetic import make_task, write_tsv
from dvs2s.loading import load
from dvs2s.paths import config_folder
from dvs2s.responder import Responder

torch.set_num_threads(1)
sys.path.append(str(Path(__file__).parent))  # so that the tests can import the types below

COMMANDS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "train": (TrainConfig, train.main),
    "chat": (ChatConfig, chat.main),
    "generate": (GenerateConfig, generate.main),
    "evaluate": (EvaluateConfig, evaluate.main),
    "prepare": (PrepareConfig, prepare.main),
    "calibrate": (CalibrateConfig, calibrate.main),
    "lens": (LensConfig, lens.main),
    "generic": (GenericConfig, generic.main),
    "table": (TableConfig, table.main),
    "annotate": (AnnotateConfig, annotate.main),
    "summary": (SummaryConfig, sweep.main),
}
# 54 words, 26 of them special or function words; a bigger corpus would teach the tests nothing.
TINY = (
    "data=tsv",
    "model.embedding_size=24",
    "model.hidden_size=32",
    "model.bag_size=24",
    "model.predictor_size=24",
    "model.dropout=0.1",
    "objective.budget=34",
    "optim.lr=0.02",
    "optim.warmup=5",
    "search.size=40",
    "search.beam=4",
    "search.max_length=14",
    "trainer.batch_size=16",
    "trainer.max_updates=60",
    "trainer.validate_every=20",
    "trainer.save_every=10",
    "trainer.log_every=5",
    "trainer.threads=1",
    "trainer.progress=none",
)


@dataclass(frozen=True)
class Ran:
    """How a command ended: its exit code and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]
Compose = Callable[..., Any]


@pytest.fixture(scope="session")
def compose() -> Compose:
    """Composes a command's configuration from overrides and checks it, as the command does."""

    def composed(name: str, *overrides: str) -> Any:
        schema = COMMANDS[name][0]
        ConfigStore.instance().store(name=f"{name}_schema", node=schema)
        with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            return as_schema(hydra.compose(name, overrides=list(overrides)), schema)

    return composed


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Runs ``python -m dvs2s.cli.<name> <arguments>`` in this process, Hydra and all."""
    root = logging.getLogger()
    former = root.handlers[:], root.level, logging.getLogger("dvs2s").level

    def ran(name: str, *arguments: str, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = 0
        try:
            run(name, *COMMANDS[name])
        except SystemExit as end:
            code = int(end.code or 0)
        return Ran(code, *capfd.readouterr())

    yield ran
    root.handlers[:], root.level = former[0], former[1]
    logging.getLogger("dvs2s").setLevel(former[2])


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.tsv, valid.tsv and test.tsv of the synthetic task."""
    folder = tmp_path_factory.mktemp("corpus")
    for seed, (split, pairs) in enumerate({"train": 250, "valid": 24, "test": 24}.items()):
        task = make_task(pairs, num_topics=4, words_per_topic=3, seed=seed)
        write_tsv(folder / f"{split}.tsv", task.pairs)
    return folder


@pytest.fixture(scope="session")
def tiny(corpus: Path) -> tuple[str, ...]:
    """The overrides of a training that takes seconds; trainer.run is for the test to choose."""
    prepared = f"data.prepared={corpus}/prepared"
    return (*TINY, f"data.root={corpus}", prepared, "data.drop_train_duplicates=false")


@pytest.fixture(scope="session")
def run_dir(
    compose: Compose, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run that everybody shares: to be read, never to be changed."""
    folder = tmp_path_factory.mktemp("run")
    train.main(compose("train", *tiny, f"trainer.run={folder}"))
    return folder


@pytest.fixture
def own_run(run_dir: Path, tmp_path: Path) -> Path:
    """A copy of the shared run to do damage to."""
    return Path(shutil.copytree(run_dir, tmp_path / "run"))


@pytest.fixture(scope="session")
def bot(run_dir: Path) -> Responder:
    """The shared run's responder."""
    return load(run_dir)
