"""README and the pages in docs/ speak of what is there: commands compose, paths and names exist.

Nothing is trained. Python blocks are compiled only.
"""

import ast
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

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
from dvs2s.cli.table_options import TableOptions
from dvs2s.config import TrainConfig
from dvs2s.errors import ConfigError
from dvs2s.paths import config_folder

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CARDS = [ROOT / "data" / "README.md", ROOT / "data" / "smalltalk" / "README.md"]

# Folders at the top of the repository; runs/, prepared/ and others are made by commands.
_ROOMS = ("dvs2s", "conf", "data", "docs", "tests", "benchmarks", ".ci")
_COMMAND = re.compile(r"(?:^|[\s(])python3? -m (dvs2s[\w.]*)([^\n]*)")
_PATH = re.compile(r"(?<![\w./:-])\.?[A-Za-z][\w.-]*(?:/[\w.-]+)*/?")
_DOTTED = re.compile(r"(?<![\w/.])dvs2s(?:\.\w+)+")
_OPTION = re.compile(r"[a-z_]+(?:\.[a-z_]+)+(?<!\.md)(?<!\.py)")


@pytest.fixture(params=[*PAGES, *CARDS], ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def blocks(text: str, language: str | None = None) -> list[str]:
    """Returns the fenced blocks, of one language when it is given; broken lines are joined."""
    found = re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    return [re.sub(r"\\\n\s*", "", b) for name, b in found if language in (None, name)]


def spans(text: str) -> list[str]:
    """Returns the code between single back quotes outside of fenced blocks."""
    outside = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [" ".join(s.split()) for s in re.findall(r"(?<!`)`([^`]+)`(?!`)", outside)]


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Returns module and arguments of every ``python -m dvs2s...`` in code."""
    found = []
    for code in [*blocks(text), *spans(text)]:
        code = re.sub(r"\S*/(python3?\b)", r"\1", code)  # .venv/bin/python
        for module, rest in _COMMAND.findall(code):
            found.append((module.rstrip("."), _arguments(rest)))
    return found


def _arguments(rest: str) -> list[str]:
    """Returns the arguments, up to what the shell takes for itself."""
    lexer = shlex.shlex(rest, posix=True, punctuation_chars="|><;&")
    lexer.whitespace_split = True
    return list(itertools.takewhile(lambda token: not set(token) & set("|><;&"), lexer))


@cache
def entry(module: str) -> tuple[str, type[Any]]:
    """Returns primary file and schema of a command: what its module passes to ``run``."""
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    assert path.is_file(), f"there is no command {module}: {path.relative_to(ROOT)} is missing"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "run":
            name, schema = node.args[0], node.args[1]
            assert isinstance(name, ast.Constant) and isinstance(schema, ast.Name)
            return str(name.value), getattr(import_module(module), schema.id)
    raise AssertionError(f"{path.relative_to(ROOT)} calls no run(name, schema, function)")


def compose(module: str, arguments: list[str]) -> list[Any]:
    """Returns the checked configurations of a command line: several for a sweep."""
    name, schema = entry(module)
    ConfigStore.instance().store(name=f"{name}_schema", node=schema)
    given = [a for a in _without_flags(arguments)]
    suggest(name, given)
    parsed = OverridesParser.create().parse_overrides(given)
    choices = [
        [f"{o.key_or_group}={v}" for v in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [o.input_line or ""]
        for o in parsed
    ]
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        return [
            as_schema(hydra.compose(name, overrides=list(job)), schema)
            for job in itertools.product(*choices)
        ]


def _without_flags(arguments: list[str]) -> Iterator[str]:
    with_value = ("--cfg", "-c", "--package", "-p", "--info", "-i")
    rest = iter(arguments)
    for argument in rest:
        if argument in with_value:
            next(rest, None)
        elif not argument.startswith("-"):
            yield argument


def test_every_command_composes(page: Path) -> None:
    for module, arguments in commands(page.read_text(encoding="utf-8")):
        if ROOT.joinpath(*module.split("."), "__main__.py").is_file():
            continue  # a package that runs reads no configuration
        try:
            compose(module, arguments)
        except Exception as error:
            pytest.fail(f"{page.name}: {module} {' '.join(arguments)}: {error}", pytrace=False)


def paths(text: str) -> set[str]:
    """Returns what looks like a path of this repository in code, those of the user left out."""
    brought = tuple(f"{folder}/" for folder in user_folders())
    found = set()
    for code in [*blocks(text), *spans(text)]:
        for token in re.split(r"[\s=,;()\[\]'\"]+", code):
            path = token.rstrip(":.")
            top, slash, _ = path.partition("/")
            ours = top in _ROOMS if slash else path.endswith((".md", ".toml"))
            if ours and _PATH.fullmatch(path) and not f"{path}/".startswith(brought):
                found.add(path)
    return found


def user_folders() -> set[str]:
    """Returns where conf/data/ expects corpora that are not in the repository."""
    configs = [OmegaConf.load(path) for path in (ROOT / "conf" / "data").glob("*.yaml")]
    return {str(config["root"]) for config in configs}


def missing_paths(text: str) -> list[str]:
    """Returns the paths that are neither in the repository nor, as in data/batch.py, in dvs2s/."""
    return sorted(
        path
        for path in paths(text)
        if not ((ROOT / path).exists() or (ROOT / "dvs2s" / path).exists())
    )


def test_every_path_exists(page: Path) -> None:
    missing = missing_paths(page.read_text(encoding="utf-8"))
    assert not missing, f"{page.relative_to(ROOT)} names paths that are not there: {missing}"


def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [link.split("#")[0] for link in links if "://" not in link and link[0] != "#"]
    missing = [link for link in local if not (page.parent / link).exists()]
    assert not missing, f"{page.relative_to(ROOT)} links to what is not there: {missing}"


def test_every_module_and_name_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in {n for code in [*blocks(text), *spans(text)] for n in _DOTTED.findall(code)}:
        module, rest = name.split("."), []
        while not (ROOT.joinpath(*module).with_suffix(".py").is_file()):
            if ROOT.joinpath(*module, "__init__.py").is_file():
                break
            rest.insert(0, module.pop())
        found: Any = import_module(".".join(module))
        for step in rest:
            assert hasattr(found, step), f"{page.relative_to(ROOT)} names {name}: no such name"
            found = getattr(found, step)


def option_names(schema: Any, prefix: str = "") -> set[str]:
    """Returns the dotted names of all options of a schema, groups included."""
    names = set()
    for option in fields(schema):
        names.add(f"{prefix}{option.name}")
        factory = option.default_factory
        if is_dataclass(factory):
            names |= option_names(factory, f"{prefix}{option.name}.")
    return names


def test_every_option_exists(page: Path) -> None:
    names = option_names(TrainConfig)
    groups = {name for name in names if "." not in name}
    text = page.read_text(encoding="utf-8")
    words = [word.partition("=")[0] for span in spans(text) for word in span.split()]
    options = [w for w in words if _OPTION.fullmatch(w) and w.split(".")[0] in groups]
    wrong = [o for o in options if o not in names and not _is_module(o)]
    assert not wrong, f"{page.relative_to(ROOT)} names options that do not exist: {wrong}"


def _is_module(name: str) -> bool:
    """Whether a dotted name is a module of ours without ``dvs2s.``, such as data.corpus."""
    return (ROOT / "dvs2s").joinpath(*name.split(".")).with_suffix(".py").is_file()


def test_every_choice_exists(page: Path) -> None:
    groups = {p.name: {f.stem for f in p.glob("*.yaml")} for p in (ROOT / "conf").iterdir()}
    text = page.read_text(encoding="utf-8")
    for span in spans(text):
        for word in span.split():
            group, _, choice = word.partition("=")
            if groups.get(group) and choice.isidentifier() and (page.name, word) not in _EXAMPLES:
                assert choice in groups[group], f"{page.relative_to(ROOT)}: {word}"


_EXAMPLES = {("data.md", "group=choice"), ("data.md", "experiment=mine")}


def test_data_page_lists_every_option_and_choice() -> None:
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    listed = {word for span in spans(text) for word in span.split()}
    leaves = {n for n in option_names(TrainConfig) if "." in n and n != "objective.negatives"}
    assert not sorted(leaves - listed), "options that docs/data.md does not explain"
    choices = {f"{p.parent.name}={p.stem}" for p in (ROOT / "conf").glob("*/*.yaml")}
    assert not sorted(choices - listed), "files of conf/ that docs/data.md does not name"


def test_data_page_lists_every_option_of_the_commands() -> None:
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    rows = text[text.index("### Commands") :].splitlines()
    schemas = {"chat": ChatConfig, "evaluate": EvaluateConfig}
    schemas |= {"generate": GenerateConfig, "prepare": PrepareConfig, "serve": ServeConfig}
    schemas |= {"bench": BenchConfig, "calibrate": CalibrateConfig, "lens": LensConfig}
    schemas |= {"generic": GenericConfig}
    for command, schema in schemas.items():
        said = {w for row in rows if command in row for w in re.findall(r"`(\w+)`", row)}
        names = {f.name for f in fields(schema)} - {"search", "data"}
        assert not sorted(names - said), f"options of {command} that docs/data.md does not list"


def test_serving_page_lists_every_option_of_the_server() -> None:
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(server\.\w+)` \|", text, flags=re.MULTILINE))
    assert listed == {name for name in option_names(ServeConfig) if name.startswith("server.")}


def test_table_page_lists_every_option() -> None:
    text = (ROOT / "docs" / "table.md").read_text(encoding="utf-8")
    listed = {word for span in spans(text) for word in span.split()}
    names = option_names(TableOptions, "table.") - {"table.values"} | option_names(AnnotateConfig)
    assert not sorted(names - listed), "options that docs/table.md does not explain"


def make_targets(text: str) -> set[str]:
    """Returns the targets of ``make`` in code."""
    code = "\n".join([*blocks(text), *spans(text)])
    return set(re.findall(r"(?:^|\| *|&& *|\$ )make(?: -\w+)* ([a-z][\w-]*)", code, flags=re.M))


def test_every_make_target_exists(page: Path) -> None:
    makefile = ROOT / "Makefile"
    rules = makefile.read_text(encoding="utf-8") if makefile.exists() else ""
    there = set(re.findall(r"^([a-z][\w-]*)\s*:(?!=)", rules, flags=re.MULTILINE))
    missing = sorted(make_targets(page.read_text(encoding="utf-8")) - there)
    assert not missing, f"{page.relative_to(ROOT)} names targets that Makefile lacks: {missing}"


def test_every_python_block_compiles(page: Path) -> None:
    for code in blocks(page.read_text(encoding="utf-8"), "python"):
        source = re.sub(r"^(>>>|\.\.\.) ?", "", code, flags=re.MULTILINE)
        compile(source, str(page), "exec")


def test_the_data_card_counts_right() -> None:
    files = sorted((ROOT / "data" / "smalltalk" / "topics").glob("*.json"))
    topics = [json.loads(f.read_text(encoding="utf-8")) for f in files]
    card = (ROOT / "data" / "smalltalk" / "README.md").read_text(encoding="utf-8")
    rows = {"training messages": "messages", "validation messages": "valid_messages"}
    rows |= {"test messages": "test_messages", "replies": "replies", "dialogues": "dialogues"}
    assert f"| topics | {len(topics)} |" in card
    for name, key in rows.items():
        assert f"| {name} | {sum(len(t[key]) for t in topics):,} |" in card
    turns = sum(len(d) - 1 for t in topics for d in t["dialogues"])
    for split, key, more in (("train", "messages", turns), ("valid", "valid_messages", 0)):
        pairs = sum(len(t[key]) * len(t["replies"]) for t in topics) + more
        assert f"| {split} | {pairs:,} |" in card


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`python -m dvs2s.cli.chat`", [("dvs2s.cli.chat", [])]),
        (
            "```\n$ echo hi | .venv/bin/python -m dvs2s.cli.chat search=greedy > a.txt\n```",
            [("dvs2s.cli.chat", ["search=greedy"])],
        ),
        (
            "```sh\npython -m dvs2s.cli.train '~experiment' \\\n  model=small  # why\n```",
            [("dvs2s.cli.train", ["~experiment", "model=small"])],
        ),
        ("python -m dvs2s.cli.chat in prose", []),
    ],
)
def test_commands_are_found(text: str, expected: list[tuple[str, list[str]]]) -> None:
    assert commands(text) == expected


@pytest.mark.parametrize(
    "arguments",
    [["trainer.max_updats=3"], ["experiment=nothing"], ["model.dropout=2"], ["model.dropout=x"]],
)
def test_a_wrong_command_does_not_compose(arguments: list[str]) -> None:
    with pytest.raises((ConfigError, hydra.errors.HydraException)):
        compose("dvs2s.cli.train", arguments)


def test_a_sweep_composes_each_job() -> None:
    jobs = compose("dvs2s.cli.train", ["--multirun", "trainer.seed=0,1", "model=small,middle"])
    assert [(j.trainer.seed, j.model.hidden_size) for j in jobs] == [
        (0, 192),
        (0, 224),
        (1, 192),
        (1, 224),
    ]


def test_missing_things_are_noticed() -> None:
    assert make_targets("`make chat`, `echo hello | make -s test`, make nothing") == {
        "chat",
        "test",
    }
    text = "`dvs2s/nothing.py`, `conf/data/no.yaml`, `docs/model.md`, `data/mydata/x.tsv`, `runs/x`"
    assert missing_paths(text) == ["conf/data/no.yaml", "dvs2s/nothing.py"]
