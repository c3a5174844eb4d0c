"""A tiny trained model for the engine, a fake engine for everything else."""

import sys
from collections.abc import Iterator
from pathlib import Path

import hydra
import pytest
import torch
from hydra.core.config_store import ConfigStore

# So that the tests can import what they share; a folder without a conftest.py of its own.
sys.path.append(str(Path(__file__).parent / "fakes"))

from serving_fakes import FakeEngine, Serve, serving

from dvs2s.cli import train
from dvs2s.cli.entry import as_schema
from dvs2s.config import TrainConfig
from dvs2s.data.synthetic import make_task, write_tsv
from dvs2s.paths import config_folder
from dvs2s.serving.app import create_app
from dvs2s.serving.options import ServerOptions

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of seconds on the synthetic task: to be read, never to be changed."""
    folder = tmp_path_factory.mktemp("served")
    for seed, (split, pairs) in enumerate({"train": 200, "valid": 20, "test": 4}.items()):
        task = make_task(pairs, num_topics=4, words_per_topic=3, seed=seed)
        write_tsv(folder / f"{split}.tsv", task.pairs)
    overrides = [
        "data=tsv",
        f"data.root={folder}",
        f"data.prepared={folder}/prepared",
        "data.drop_train_duplicates=false",
        "data.context_turns=2",
        *(f"model.{size}_size=24" for size in ("embedding", "hidden", "bag", "predictor")),
        "objective.budget=34",
        "optim.lr=0.02",
        "optim.warmup=5",
        "search.size=40",
        "search.beam=4",
        "search.max_length=14",
        "trainer.batch_size=16",
        "trainer.max_updates=30",
        "trainer.validate_every=30",
        "trainer.save_every=30",
        "trainer.threads=1",
        "trainer.progress=none",
        f"trainer.run={folder}/tiny",
    ]
    ConfigStore.instance().store(name="train_schema", node=TrainConfig)
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = hydra.compose("train", overrides=overrides)
    train.main(as_schema(composed, TrainConfig))
    return folder / "tiny"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def serve(engine: FakeEngine) -> Iterator[Serve]:
    """Serves the fake engine over real sockets; returns the address."""
    running = []

    def started(key: str = "", **options: float) -> str:
        limits = ServerOptions(**options)  # type: ignore[arg-type]
        app = create_app(engine, limits, key=key)
        context = serving(app, limits.read_seconds)
        address = context.__enter__()
        running.append(context)
        return address

    yield started
    for context in running:
        context.__exit__(None, None, None)
