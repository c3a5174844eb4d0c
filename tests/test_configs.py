"""Every file of conf/ composed in every choice; ranges, and the names that misspelt options get."""

import gzip
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from dvs2s.build import prepared_data
from dvs2s.cli import train
from dvs2s.cli.annotate_options import AnnotateConfig
from dvs2s.cli.configs import (
    BenchConfig,
    CalibrateConfig,
    ChatConfig,
    EvaluateConfig,
    GenerateConfig,
    GenericConfig,
    LensConfig,
    PrepareConfig,
    ServeConfig,
)
from dvs2s.cli.entry import as_schema, suggest
from dvs2s.cli.sweep_options import SummaryConfig
from dvs2s.cli.table_options import TableConfig
from dvs2s.config import TrainConfig
from dvs2s.errors import ConfigError
from dvs2s.loading import train_config
from dvs2s.paths import config_folder

SCHEMAS: dict[str, type] = {
    "train": TrainConfig,
    "chat": ChatConfig,
    "generate": GenerateConfig,
    "evaluate": EvaluateConfig,
    "prepare": PrepareConfig,
    "serve": ServeConfig,
    "table": TableConfig,
    "annotate": AnnotateConfig,
    "calibrate": CalibrateConfig,
    "generic": GenericConfig,
    "lens": LensConfig,
    "bench": BenchConfig,
    "summary": SummaryConfig,
}
GROUPS = {
    "train": ("data", "model", "objective", "optim", "search", "trainer"),
    "chat": ("search",),
    "generate": ("search",),
    "evaluate": ("search",),
    "prepare": ("data",),
    "serve": ("search",),
    "bench": (),
}
CONF = config_folder()


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


EXPERIMENTS = choices("experiment")
SWEEPS = choices("sweep")
LAUNCHERS = {"slurm": "hydra_submitit_launcher", "cluster_ray": "hydra_ray_launcher"}
EVERY_CHOICE = [(n, g, c) for n, groups in GROUPS.items() for g in groups for c in choices(g)]


@pytest.fixture(scope="module", autouse=True)
def schemas() -> None:
    for name, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"{name}_schema", node=schema)


def compose(name: str, *overrides: str) -> Any:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(name, overrides=list(overrides))


def leaves(path: Path, package: str) -> dict[str, Any]:
    """What a file sets, by full option name."""
    text = path.read_text(encoding="utf-8")
    prefix = "" if "@package _global_" in text else f"{package}."
    found: dict[str, Any] = {}

    def walk(node: Any, name: str) -> None:
        if isinstance(node, dict) and node:
            for key, child in node.items():
                walk(child, f"{name}.{key}" if name else key)
        elif node != {}:
            found[name] = node

    content = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(content, dict)
    content.pop("defaults", None)
    walk(content, "")
    return {prefix + name: value for name, value in found.items()}


def values(composed: Any, names: Any) -> dict[str, Any]:
    plain = OmegaConf.to_container(composed, resolve=False)
    found = {}
    for name in names:
        node: Any = plain
        for part in name.split("."):
            node = node[part]
        found[name] = node
    return found


def test_no_file_is_left_out() -> None:
    covered = {f"{group}/{choice}" for _, group, choice in EVERY_CHOICE}
    covered |= {f"experiment/{name}" for name in EXPERIMENTS} | SCHEMAS.keys() | {"no_output"}
    covered |= {f"sweep/{name}" for name in SWEEPS}
    covered |= {f"hydra/launcher/{name}" for name in LAUNCHERS}
    actual = {str(path.relative_to(CONF).with_suffix("")) for path in CONF.rglob("*.yaml")}
    assert actual == covered


@pytest.mark.parametrize(("name", "group", "choice"), EVERY_CHOICE)
def test_every_choice_takes_effect(name: str, group: str, choice: str) -> None:
    bare = ["~experiment"] if name == "train" else []
    composed = compose(name, f"{group}={choice}", *bare)
    expected = leaves(CONF / group / f"{choice}.yaml", group)
    assert values(composed, expected) == expected
    assert isinstance(as_schema(composed, SCHEMAS[name]), SCHEMAS[name])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_becomes_a_config_that_survives_json(experiment: str) -> None:
    composed = compose("train", f"experiment={experiment}")
    expected = leaves(CONF / "experiment" / f"{experiment}.yaml", "")
    assert values(composed, expected) == expected
    config = as_schema(composed, TrainConfig)
    assert "${" not in str(asdict(config))
    assert train_config(json.loads(json.dumps(asdict(config))), "here") == config


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("objective", choices("objective"))
def test_every_objective_runs_in_every_experiment(experiment: str, objective: str) -> None:
    config = as_schema(
        compose("train", f"experiment={experiment}", f"objective={objective}"), TrainConfig
    )
    own = leaves(CONF / "objective" / f"{objective}.yaml", "objective")
    assert config.objective.kind == own["objective.kind"]
    assert (config.search.vocabulary == "full") == (objective in ("s2sa", "cvae", "ta_s2s"))


def composed_sweep(*overrides: str) -> Any:
    """A sweep as Hydra composes it, its own node included."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return loader.load_configuration("train", list(overrides), RunMode.MULTIRUN)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_sweep_becomes_jobs(sweep: str) -> None:
    if sweep == "optuna":
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs dvs2s[sweep]")
    composed = composed_sweep(f"sweep={sweep}", "hydra.sweep.dir=here")
    expected = leaves(CONF / "sweep" / f"{sweep}.yaml", "")
    searched = "hydra.sweeper.params."
    plain = {name: value for name, value in expected.items() if not name.startswith(searched)}
    assert values(composed, plain) == plain
    params = OmegaConf.to_container(composed.hydra.sweeper.params)
    assert isinstance(params, dict)
    assert {f"{searched}{name}": value for name, value in params.items()} == {
        name: value for name, value in expected.items() if name not in plain
    }
    # each searched option exists, and the first value of each makes a valid configuration
    suggest("train", [f"sweep={sweep}", *(f"{name}=0" for name in params if "." in name)])
    first = [f"{n}={str(v).split(',')[0]}" for n, v in params.items() if "(" not in str(v)]
    config = as_schema(compose("train", f"sweep={sweep}", *first), TrainConfig)
    assert "${" not in str(asdict(config))


@pytest.mark.parametrize(("launcher", "plugin"), LAUNCHERS.items())
def test_every_launcher_takes_effect(launcher: str, plugin: str) -> None:
    pytest.importorskip(f"hydra_plugins.{plugin}", reason=f"the plugin {plugin} is not installed")
    composed = composed_sweep("sweep=vocabulary", f"hydra/launcher={launcher}")
    expected = leaves(CONF / "hydra" / "launcher" / f"{launcher}.yaml", "hydra.launcher")
    assert values(composed, expected) == expected
    assert plugin in composed.hydra.launcher._target_


OUT_OF_RANGE = [
    ("data.fraction", 0.0, "above 0 and at most 1"),
    ("data.fraction", 1.5, "above 0 and at most 1"),
    ("sweep.prune", "best", "one of none, median"),
    ("sweep.prune_startup", 0, "at least 1"),
    ("sweep.decode_messages", 0, "at least 1"),
    ("data.format", "csv", "one of tsv, jsonl"),
    ("data.tokenizer", "bpe", "one of basic_english"),
    ("data.context_turns", 0, "at least 1"),
    ("data.min_count", 0, "at least 1"),
    ("data.vocabulary_size", 5, "at least 6"),
    ("data.max_message_tokens", 0, "at least 1"),
    ("data.max_response_tokens", -1, "at least 1"),
    ("data.max_malformed_share", -0.5, "at least 0"),
    ("data.workers", -1, "at least 0"),
    ("model.embedding_size", 0, "at least 1"),
    ("model.hidden_size", -3, "at least 1"),
    ("model.bag_size", 0, "at least 1"),
    ("model.predictor_size", 0, "at least 1"),
    ("model.dropout", 1.0, "at least 0 and below 1"),
    ("objective.kind", "gan", "one of cross_entropy, separate, joint"),
    ("objective.baseline", "best", "one of none, running, leave_one_out"),
    ("objective.price_form", "cubic", "one of logistic, linear"),
    ("objective.pretrain_share", 1.5, "0..1"),
    ("objective.momentum", 1.0, "0 to below 1"),
    ("objective.num_samples", 0, "at least 1"),
    ("trainer.logits_chunk", -1, "at least 0"),
    ("objective.estimator", "reinforce", "one of score_function, local_expectation"),
    ("objective.bound", "exact", "one of monte_carlo, multi_sample, closed_form"),
    ("objective.full_share", 1.0, "0 to below 1"),
    ("objective.extra_words", -1, "at least 0"),
    ("objective.anneal_share", 2.0, "0..1"),
    ("objective.bow_weight", -1.0, "at least 0"),
    ("model.latent_size", -1, "at least 0"),
    ("model.latent_size", 8, "set objective=cvae, or model.latent_size=0"),
    ("model.num_topics", -1, "at least 0"),
    ("model.num_topics", 8, "set objective=ta_s2s, or model.num_topics=0"),
    ("model.topic_words", 0, "at least 1"),
    ("objective.topic_passes", 0, "at least 1"),
    ("objective.topic_common", -1, "at least 0"),
    ("objective.budget", -1.0, "at least 0"),
    ("objective.price", 2.0, "one of objective.price and objective.budget"),
    ("objective.budget_rate", math.nan, "at least 0"),
    ("objective.negatives.kind", "some", "one of none, full, sampled"),
    ("objective.negatives.weight", -1.0, "at least 0"),
    ("objective.negatives.number", 0, "at least 1"),
    ("optim.kind", "sgd", "one of adadelta, adamw"),
    ("optim.decay", "step", "one of constant, inverse_sqrt, cosine"),
    ("optim.lr", 0.0, "above 0"),
    ("optim.lr", math.nan, "above 0"),
    ("optim.warmup", -1, "at least 0"),
    ("optim.warmup", 1400, "below trainer.max_updates = 1400"),
    ("optim.clip_norm", -5.0, "at least 0"),
    ("search.kind", "best", "one of greedy, beam, sampling, diverse_beam"),
    ("search.groups", 0, "at least 1"),
    ("search.diversity", -1.0, "at least 0"),
    ("search.beam", 0, "at least 1"),
    ("search.num_best", 21, "at most search.beam=20"),
    ("search.min_length", 31, "at most search.max_length=30"),
    ("search.temperature", 0.0, "above 0"),
    ("search.top_p", 1.5, "above 0 and at most 1"),
    ("search.length_penalty", math.inf, "a finite number"),
    ("search.vocabulary", "half", "one of size, threshold, full, conformal, frequency"),
    ("search.vocabulary", "conformal", "train with search.vocabulary=size"),
    ("search.generic_share", 0.0, "above 0 and be 1 at most"),
    ("search.generic_share", 0.5, "train with search.generic_share=1"),
    ("search.coverage_alpha", 1.0, "between 0 and 1"),
    ("search.coverage_of", "most", "all, share"),
    ("search.coverage_by", "rank", "threshold, size"),
    ("data.pairing", "sideways", "one of forward, reverse, unconditional"),
    ("data.pairing", "reverse", "set objective=s2sa"),
    ("search.vocabulary", "lexical", "give it to dvs2s.cli.evaluate, not to training"),
    ("search.size", 0, "at least 1"),
    ("search.threshold", 1.0, "between 0 and 1"),
    ("trainer.max_updates", 0, "at least 1"),
    ("trainer.max_minutes", -1.0, "at least 0"),
    ("trainer.batch_size", 0, "exactly one of trainer.batch_size (pairs) and trainer.max_tokens"),
    ("trainer.max_tokens", 100, "exactly one of trainer.batch_size (pairs) and trainer.max_tokens"),
    ("trainer.keep", 0, "at least 1"),
    ("trainer.seed", -1, "at least 0"),
    ("trainer.progress", "loud", "one of bar, lines, none"),
]


@pytest.fixture(scope="module")
def default() -> Any:
    return compose("train")


@pytest.mark.parametrize(("option", "value", "allowed"), OUT_OF_RANGE)
def test_a_value_out_of_range_names_option_value_and_range(
    default: Any, option: str, value: Any, allowed: str
) -> None:
    changed = default.copy()
    OmegaConf.update(changed, option, value)
    with pytest.raises(ConfigError) as caught:
        as_schema(changed, TrainConfig)
    message = str(caught.value)
    assert option in message and allowed in message
    assert (f"{value:g}" if isinstance(value, float) else str(value)) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("generate", "format", "xml"),
        ("generate", "batch_size", 0),
        ("generate", "threads", -1),
        ("evaluate", "split", "dev"),
        ("evaluate", "limit", -1),
        ("chat", "show_words", -1),
        ("table", "table.resamples", 1),
        ("chat", "rerank", "best"),
        ("generate", "rerank_weight", -1.0),
        ("generic", "share", 1.0),
        ("generic", "replies", 0),
        ("lens", "words", 0),
        ("lens", "out", "a.pdf"),
        ("calibrate", "alpha", 1.5),
        ("calibrate", "split", "test"),
        ("calibrate", "report", "valid"),
        ("annotate", "mode", "judge"),
        ("annotate", "port", -1),
        ("table", "table.split", "dev"),
        ("chat", "engine", "fast"),
        ("generate", "precision", "int4"),
        ("bench", "preset", "huge"),
        ("bench", "threads", 0),
        ("summary", "scaling", "maybe"),
        ("summary", "resamples", 0),
    ],
)
def test_the_other_commands_check_their_options_too(name: str, option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{option} must be .*, got '?{value}"):
        as_schema(compose(name, f"{option}={value}"), SCHEMAS[name])


@pytest.mark.parametrize(
    ("name", "misspelt", "nearest"),
    [
        ("train", "objective.buget=3", "objective.budget"),
        ("train", "objective.negatives.exponet=1", "objective.negatives.exponent"),
        ("train", "max_updates=3", "trainer.max_updates"),
        ("train", "trainer.max_update=3", "trainer.max_updates"),
        ("train", "modle=small", "model"),
        ("train", "experimnet=paper", "experiment"),
        ("train", "+trainer.sede=3", "trainer.seed"),
        ("prepare", "data.rot=x", "data.root"),
        ("table", "table.seed=[0]", "table.seeds"),
        ("chat", "search.beem=3", "search.beam"),
        ("generate", "inptu=x", "input"),
        ("evaluate", "checkpont=x", "checkpoint"),
    ],
)
def test_a_misspelt_option_names_the_nearest(name: str, misspelt: str, nearest: str) -> None:
    key = misspelt.lstrip("+").split("=")[0]
    with pytest.raises(ConfigError) as caught:
        trains = name in ("train", "table")
        suggest(name, ["experiment=paper", misspelt] if trains else [misspelt])
    assert str(caught.value) == f"there is no option {key!r}: did you mean {nearest!r}?"


@pytest.mark.parametrize("argument", ["+x=1", "zzzzqqqq=1"])
def test_an_option_like_no_other_is_refused(argument: str) -> None:
    # Hydra itself takes +x=1 and nobody would ever read it
    with pytest.raises(ConfigError, match="there is no option '.*': --cfg job lists all options"):
        suggest("train", [argument])


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("objective=dvs2", "no objective=dvs2: did you mean 'dvs2s'\\? \\(there are closed_form"),
        ("objective=s2sa,dvs2", "no objective=dvs2: did you mean 'dvs2s'\\?"),
        ("model=huge", "no model=huge \\(there are middle, paper, small\\)"),
        ("trainer.seed=one", "trainer.seed=one: Value 'one' .* could not be converted to Integer"),
        ("trainer.seed = 1", "cannot read 'trainer.seed = 1': write option=value without spaces"),
        ("data.train=[a=b]", r"cannot read 'data.train=\[a=b\]': .* quotes"),
    ],
)
def test_a_wrong_choice_or_value_is_explained(argument: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        suggest("train", [argument])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-m", "trainer.seed=1,2", "objective=s2sa,dvs2s", "optim.lr=range(1,3)"],
        ["objective=s2sa", "search.vocabulary=full", "hydra.run.dir=x", "--cfg", "job"],
        ["data.train=[a.tsv,b.tsv]", "+objective.budget=40", "~experiment"],
        ["-c", "job", "--info", "searchpath", "~sweep", "sweep=null", "hydra/launcher=joblib"],
    ],
)
def test_right_names_pass(arguments: list[str]) -> None:
    suggest("train", arguments)


STAND_IN = {
    "english": [
        "hello there ?",
        "how are you today",
        "i am well , thanks",
        "green hills past rivers",
        "tall ships sail home",
    ],
    "chinese": ["你好吗", "今天天气很好", "我也这么想"],
}
TINY_RUN = (
    "trainer.max_updates=1",
    "trainer.batch_size=4",
    "trainer.max_tokens=0",
    "trainer.samples=0",
    "trainer.threads=1",
    "trainer.progress=none",
    "optim.warmup=0",
    "search.kind=greedy",
    "data.min_count=1",
    "data.drop_train_duplicates=false",
    "data.workers=1",
)


def stand_in(folder: Path, data: str) -> list[str]:
    """Writes a few pairs as a choice of data expects its files; returns the overrides."""
    raw = OmegaConf.load(CONF / "data" / f"{data}.yaml")
    if raw.root == "embedded":
        return [f"data.prepared={folder.parent}/{data}"]
    folder.mkdir()
    turns = STAND_IN["chinese" if raw.get("tokenizer") == "jieba" else "english"]
    for split in ("train", "valid", "test"):
        for name in raw[split]:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            match raw.format:
                case "tsv":
                    text = "".join(f"{a}\t{b}\n" for a in turns for b in turns)
                    opened = gzip.open if name.endswith(".gz") else open
                    with opened(path, "wt", encoding="utf-8") as file:
                        file.write(text)
                case "jsonl":
                    path.write_text(f"{json.dumps(turns)}\n" * 9, encoding="utf-8")
                case "dailydialog":
                    path.write_text(f"{' __eou__ '.join(turns)} __eou__\n" * 9, encoding="utf-8")
                case "cornell":
                    write_cornell(path, turns)
                case other:
                    raise AssertionError(f"no stand-in for {other}")
    return [f"data.root={folder}", f"data.prepared={folder}/prepared"]


def write_cornell(folder: Path, turns: list[str]) -> None:
    """Forty conversations: of every twenty one is validation and one is test."""
    sep = " +++$+++ "
    lines, conversations = [], []
    for number in range(40):
        ids = [f"L{number}{place}" for place in range(len(turns))]
        for name, turn in zip(ids, turns, strict=True):
            lines.append(sep.join([name, "u0", "m0", "BIANCA", turn]))
        conversations.append(sep.join(["u0", "u2", "m0", str(ids)]))
    (folder / "movie_lines.txt").write_text("\n".join(lines) + "\n")
    (folder / "movie_conversations.txt").write_text("\n".join(conversations) + "\n")


def one_update(folder: Path, *overrides: str) -> None:
    config = as_schema(
        compose("train", *overrides, *TINY_RUN, f"trainer.run={folder}/run"), TrainConfig
    )
    # budget and |T| between the function words and all words, as small as those are here
    data = prepared_data(config.data, progress=False)
    fixed, words = data.vocabulary.num_fixed, len(data.vocabulary)
    config.objective.budget = (fixed + words) / 2 if config.objective.budget else 0.0
    config.search.size = words
    config.objective.topic_common = 1
    config.model.num_topics = min(config.model.num_topics, 2)
    config.model.topic_words = min(config.model.topic_words, 4)
    former = torch.get_num_threads()
    try:
        loss = train.main(config)
    finally:
        torch.set_num_threads(former)
    assert isinstance(loss, float) and math.isfinite(loss)
    assert (folder / "run" / "checkpoints" / "last.json").is_file()


NARROW = tuple(f"model.{name}_size=8" for name in ("embedding", "hidden", "bag", "predictor"))
# the embedded corpus takes seconds to prepare and to validate: once is enough
SMALL_DATA = [name for name in choices("data") if name != "smalltalk"]


@pytest.mark.parametrize("data", SMALL_DATA)
def test_every_data_choice_trains_for_an_update(tmp_path: Path, data: str) -> None:
    one_update(tmp_path, "~experiment", f"data={data}", *NARROW, *stand_in(tmp_path / "c", data))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_trains_for_an_update(tmp_path: Path, experiment: str) -> None:
    """With its own widths, objective and optimiser; the paper's widths, too."""
    defaults = OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml").defaults
    data = next(entry["override /data"] for entry in defaults if "override /data" in entry)
    # stand-in words for the embedded corpus, whose own training test_smalltalk_corpus has
    swapped = "tsv" if data == "smalltalk" else data
    overrides = [f"experiment={experiment}", f"data={swapped}", *stand_in(tmp_path / "c", swapped)]
    one_update(tmp_path, *overrides)


@pytest.mark.parametrize(
    ("group", "choice"),
    [
        (g, c)
        for g in ("model", "objective", "optim", "search", "trainer")
        for c in choices(g)
        if c != "checkpoint"
    ],  # fmt: skip
)
def test_every_choice_trains_for_an_update(tmp_path: Path, group: str, choice: str) -> None:
    narrow = NARROW if group != "model" else ()
    overrides = ["~experiment", "data=tsv", f"{group}={choice}", *narrow]
    if choice == "ta_s2s":  # the stand-in has few words for topics
        pytest.importorskip("gensim")
        overrides += ["model.num_topics=4", "model.topic_words=6", "objective.topic_common=0"]
    one_update(tmp_path, *overrides, *stand_in(tmp_path / "c", "tsv"))
