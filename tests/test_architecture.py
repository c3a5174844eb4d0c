"""Who may import whom: the imports of every module against a table, read without running them.

Names stand without the leading ``dvs2s.``; the package itself is ``dvs2s``.
"""

import ast
import functools
import gc
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dvs2s"

# One dict a tier, lowest first: module or glob -> what it may import (modules or globs). An arrow
# leads to a lower tier, or to a neighbour that its row names. An exact name goes before a glob.
# docs/layout.md says it in words.
TIERS: tuple[dict[str, str], ...] = (
    {  # 0: values, text, formulas, search, files: nothing here knows the network or the corpus
        "errors": "",
        "answer": "",
        "dynamic_vocab": "ops",
        "paths": "errors",
        "devices": "errors ops.extension",
        "text": "",
        "text.specials": "",
        "text.normalise": "",
        "text.english": "",
        "text.chinese": "errors",
        "text.torchtext_adapter": "errors",
        "text.function_words": "errors text.chinese text.normalise",
        "text.tokenizer": "text.chinese text.english text.normalise text.torchtext_adapter",
        "text.vocabulary": "errors text.function_words text.specials text.torchtext_adapter",
        "text.word_lists": "text.specials text.tokenizer text.vocabulary",
        "ops": "ops.*",
        "ops.reference": "",
        "ops.extension": "ops.gpu",
        "ops.gpu": "ops.library ops.monte_carlo ops.reference",
        "ops.inclusion": "",
        "ops.partition": "",
        "ops.monte_carlo": "ops.partition",
        "ops.weighted": "",
        "ops.library": "ops.reference",
        "ops.planner": "ops.library",
        "ops.measure": "ops.library ops.planner",
        "ops.sparse": "ops.planner",
        "ops.__main__": "ops.extension ops.measure ops.planner",
        "layers": "",
        "layers.topics": "",
        "layers.topic_attention": "layers.attention layers.topics",
        "layers.encoder": "layers.topics",
        "layers.attention": "",
        "layers.latent": "",
        "objectives": "",
        "objectives.terms": "",
        "objectives.gold": "",
        "objectives.observer": "",
        "objectives.baselines": "objectives.observer",
        "objectives.word_loss": "",
        "objectives.row_price": "objectives.observer",
        "objectives.prior": "objectives.row_price objectives.word_loss",
        "objectives.reward_predictor": "",
        "objectives.closed_form": "",
        "objectives.lower_bound": "objectives.baselines",
        "objectives.multi_sample": "objectives.baselines objectives.lower_bound",
        "decoding": "",
        "decoding.options": "",
        "decoding.ordering": "",
        "decoding.protocol": "",
        "decoding.mmi": "",
        "decoding.table": "",
        "decoding.constraints": "decoding.options decoding.protocol",
        "decoding.rollout": "decoding.constraints decoding.options decoding.protocol",
        "decoding.greedy": "decoding.options decoding.protocol decoding.rollout",
        "decoding.sampling": "decoding.options decoding.ordering decoding.protocol"
        " decoding.rollout",
        "decoding.beam": "decoding.constraints decoding.options decoding.ordering"
        " decoding.protocol",
        "decoding.diverse": "decoding.beam decoding.constraints decoding.options decoding.protocol",
        "decoding.search": "decoding.beam decoding.diverse decoding.greedy decoding.options"
        " decoding.protocol decoding.sampling",
        "coverage": "",
        "coverage.conformal": "",
        "coverage.needs": "",
        "coverage.beside": "errors training.files training.manifest",
        "coverage.calibration": "coverage.beside",
        "coverage.generic": "answer coverage.beside coverage.conformal",
        "coverage.levels": "coverage.calibration coverage.conformal coverage.needs",
        "evaluation": "",
        "evaluation.vectors": "errors evaluation.embeddings text.torchtext_adapter",
        "evaluation.resampling": "evaluation.measures",
        "evaluation.*": "",
        "parallel": "",
        "parallel.errors": "errors",
        "parallel.watch": "parallel.errors",
        "parallel.group": "errors parallel.errors parallel.watch",
        "parallel.draws": "",
        "parallel.tables": "parallel.group",
        "parallel.replica": "errors objectives.observer objectives.terms parallel.draws"
        " parallel.group parallel.tables",
        "training": "",
        "training.seeds": "",
        "training.signals": "",
        "training.progress": "",
        "training.options": "training.progress",
        "training.schedule": "errors",
        "training.lock": "errors",
        "training.files": "errors",
        "training.tensors": "errors",
        "training.optimizer_state": "errors",
        "training.folders": "errors training.files",
        "training.manifest": "errors training.files",
        "training.tracker": "errors training.files",
        "training.checkpoint": "errors training.files training.folders training.manifest"
        " training.optimizer_state training.tensors",
        "training.resume": "errors training.checkpoint",
        "sweeps": "",
        "sweeps.status": "errors training.files training.lock",
        "sweeps.stopping": "training.signals",
        "sweeps.plan": "errors training.files",
        "sweeps.pruning": "errors sweeps.status",
        "sweeps.study": "sweeps.status",
        "sweeps.job": "errors sweeps.plan sweeps.status sweeps.stopping training.files"
        " training.lock",
        "sweeps.command": "errors sweeps.plan sweeps.status sweeps.stopping sweeps.study"
        " training.lock",
        "sweeps.summary": "errors sweeps.status training.checkpoint",
        "sweeps.powerlaw": "",
        "sweeps.scaling": "errors sweeps.powerlaw sweeps.summary",
        "sweeps.plots": "errors sweeps.scaling sweeps.summary",
        "serving": "",
        "serving.options": "errors",
        "serving.schemas": "",
        "serving.wire": "",
        "serving.pieces": "",
        "serving.fairness": "",
        "serving.pages": "",
        "serving.http": "",
        "serving.bias": "decoding.protocol",
        "serving.client": "serving.wire",
        "serving.process": "serving.wire",
        "serving.ticket": "serving.client serving.wire",
        "serving.engine": "serving.client serving.fairness serving.options serving.process"
        " serving.ticket serving.wire",
        "serving.errors": "serving.client",
        "serving.metrics": "serving.client",
        "serving.guard": "serving.errors serving.metrics",
        "serving.shedding": "serving.client serving.errors",
        "serving.streaming": "serving.client serving.errors serving.wire",
    },
    {  # 1: the options, the corpus, the composed layers, the loop
        "config": "config.*",
        "config.checks": "errors",
        "config.search": "config.checks decoding.options errors",
        "config.train": "config.* errors",
        "config.*": "config.checks errors",
        "data": "",
        "data.turns": "",
        "data.buckets": "",
        "data.synthetic": "",
        "data.lines": "errors",
        "data.malformed": "errors",
        "data.manifest": "errors",
        "data.workers": "errors",
        "data.batch": "text.specials",
        "data.folder": "errors data.manifest",
        "data.cornell": "errors data.lines data.malformed",
        "data.smalltalk": "errors data.lines data.malformed data.turns",
        "data.readers": "errors data.cornell data.lines data.malformed data.smalltalk data.turns",
        "data.options": "data.lines data.readers text.function_words text.tokenizer",
        "data.tokenise": "data.malformed data.manifest data.options data.readers data.turns"
        " data.workers text.tokenizer",
        "data.arrays": "data.manifest data.tokenise text.specials text.vocabulary",
        "data.corpus": "errors data.arrays data.manifest text.vocabulary",
        "data.prepare": "errors data.arrays data.corpus data.folder data.manifest data.options"
        " data.readers data.tokenise text.tokenizer text.vocabulary",
        "data.loader": "data.batch data.buckets",
        "data.prefetch": "data.batch data.loader",
        "data.pairings": "data.loader text.specials",
        "data.sample": "data.pairings",
        "sweeps.watch": "config sweeps.pruning sweeps.stopping training.tracker",
        "layers.decoder": "layers.attention layers.encoder layers.topic_attention",
        "layers.word_predictor": "layers.encoder text.specials",
        "layers.output": "ops",
        "layers.sparse_softmax": "dynamic_vocab ops",
        "training.gradients": "",
        "training.update": "parallel.replica training.gradients",
        "training.loop_state": "errors training.update",
        "training.protocols": "training.update",
        "training.run": "errors parallel.replica training.loop_state training.options"
        " training.progress training.protocols training.schedule training.seeds"
        " training.tracker training.update",
        "training.loop": "parallel.replica training.loop_state training.options training.progress"
        " training.protocols training.run training.schedule training.signals training.tracker",
    },
    {  # 2: the network; T from options and β; requests become jobs
        "model": "layers.* text.specials",
        "bench": "",
        "bench.timing": "",
        "bench.operator_plot": "bench.operators",
        "bench.operators": "bench.timing ops ops.extension",
        "bench.routes": "bench.timing bench.operators ops ops.library ops.planner",
        "bench.output_layer": "bench.timing ops ops.reference",
        "selection": "config coverage.calibration dynamic_vocab text.vocabulary",
        "serving.schedule": "config serving.wire",
        "serving.plan": "config errors serving.errors serving.options serving.schemas serving.wire",
        "serving.services": "serving.client serving.metrics serving.options serving.plan"
        " serving.schemas serving.shedding serving.wire",
        "serving.operations": "serving.services",
        "serving.openai_routes": "serving.client serving.schemas serving.services"
        " serving.streaming serving.wire",
        "serving.reply_route": "serving.client serving.schemas serving.services"
        " serving.streaming serving.wire",
        "shortlists": "data.corpus text.specials",
        "topics": "data.corpus errors",
    },
    {  # 3: what uses the network: objectives, and the step function of search
        "lens": "config data.batch model selection text.specials",
        "objectives.cross_entropy": "data.batch layers.encoder model objectives.terms",
        "objectives.cvae": "data.batch layers.encoder layers.latent model objectives.cross_entropy"
        " objectives.terms",
        "objectives.ta_s2s": "data.batch model objectives.terms",
        "objectives.word_terms": "data.batch layers.encoder model objectives.gold"
        " objectives.row_price objectives.word_loss",
        "objectives.separate": "data.batch model objectives.cross_entropy"
        " objectives.row_price objectives.terms objectives.word_loss objectives.word_terms",
        "objectives.words": "data.batch model objectives.cross_entropy objectives.row_price"
        " objectives.terms objectives.word_loss objectives.word_terms",
        "objectives.bounds": "data.batch model objectives.baselines objectives.closed_form"
        " objectives.lower_bound objectives.multi_sample objectives.reward_predictor"
        " objectives.word_terms",
        "objectives.dvs2s": "data.batch model objectives.baselines objectives.bounds"
        " objectives.cross_entropy objectives.reward_predictor objectives.row_price"
        " objectives.terms objectives.word_loss objectives.word_terms",
        "decoding.session": "dynamic_vocab ops layers.attention layers.encoder"
        " layers.topic_attention model text.specials",
        "engine": "",
        "engine.words": "dynamic_vocab",
        "engine.weights": "model",
        "engine.results": "decoding.protocol",
        "engine.session": "decoding.options decoding.sampling engine.results engine.words model",
        "engine.engine": "decoding.options engine.results engine.session engine.weights"
        " engine.words model ops.extension",
        "backends": "config data.batch decoding.search decoding.session engine.engine"
        " engine.results engine.session engine.words layers.encoder model selection",
    },
    {  # 4: options become objects; text in, text out
        "bench.presets": "model",
        "bench.baselines": "data.batch layers.encoder model objectives.*",
        "bench.estimators": "bench.baselines bench.timing data.batch layers.encoder model"
        " objectives.*",
        "bench.per_sample": "layers.output",
        "bench.training": "bench.per_sample bench.presets bench.timing data.batch model"
        " objectives.* training.schedule training.update",
        "bench.contenders": "decoding.options decoding.search decoding.session dynamic_vocab"
        " engine.engine engine.words layers.encoder model",
        "bench.random_model": "model",
        "bench.rows": "bench.presets",
        "bench.floor": "bench.presets bench.timing model ops.extension",
        "bench.peers": "bench.contenders errors model",
        "bench.decoding": "bench.timing bench.presets bench.contenders bench.floor bench.peers"
        " bench.random_model bench.rows decoding.options engine.engine model",
        "build": "config errors paths model data.corpus data.loader data.options data.pairings"
        " data.prefetch data.prepare data.sample training.lock shortlists text.vocabulary",
        "build_training": "build config errors model data.corpus parallel.group parallel.replica"
        " layers.topics objectives.* text.torchtext_adapter text.vocabulary topics"
        " training.schedule",
        "wording": "answer decoding.protocol engine.results text.specials text.tokenizer"
        " text.vocabulary",
        "responder": "answer backends config coverage.calibration coverage.generic data.batch"
        " engine.engine layers.encoder lens model selection shortlists text.specials text.tokenizer"
        " text.vocabulary text.word_lists wording",
    },
    {  # 5: from a folder to a responder; what a run measures
        "coverage.corpus": "config coverage.calibration coverage.needs data.batch data.corpus"
        " responder",
        "loading": "backends build config coverage.calibration coverage.generic devices"
        " engine.engine errors model responder text.vocabulary training.checkpoint",
        "validation": "build config data.batch data.corpus decoding.search decoding.session"
        " dynamic_vocab evaluation.vocabulary layers.encoder model objectives.terms"
        " parallel.group parallel.replica selection"
        " text.specials text.tokenizer",
        "serving.report": "config decoding.protocol responder serving.pieces serving.wire"
        " text.specials",
        "serving.wordlists": "responder",
        "serving.generation": "config decoding.protocol decoding.search decoding.session"
        " dynamic_vocab responder serving.bias serving.pieces serving.report serving.wire"
        " serving.wordlists text.specials",
        "serving.running": "backends engine.results engine.session responder serving.pieces"
        " serving.report"
        " serving.schedule serving.wire serving.wordlists text.specials",
        "serving.models": "backends devices engine.engine loading model ops.extension responder"
        " serving.wire",
        "serving.worker": "backends config errors responder serving.generation serving.models"
        " serving.running serving.schedule serving.wire",
        "reranking": "answer data.batch decoding.mmi responder text.specials",
        "bench.precision": "answer config data.batch data.corpus evaluation.bleu"
        " evaluation.diversity responder scoring",
        "scoring": "answer config errors data.batch data.corpus dynamic_vocab evaluation.bleu"
        " evaluation.diversity evaluation.report parallel.group responder validation",
        "sweeps.measure": "build config data.batch data.corpus loading model responder sweeps.job"
        " training.checkpoint training.loop",
        "annotation": "",
        "annotation.criteria": "",
        "annotation.agreement": "",
        "annotation.sheet": "errors",
        "annotation.store": "annotation.criteria errors",
        "annotation.summary": "annotation.*",
        "annotation.page": "annotation.criteria",
        "annotation.server": "annotation.page annotation.sheet annotation.store",
        "table": "",
        "table.replies": "answer errors",
        "table.decode": "answer config data.batch data.corpus decoding.mmi reranking responder"
        " scoring table.replies",
        "table.tuning": "answer decoding.mmi evaluation.measures",
        "table.timing": "table.decode",
        "table.measure": "evaluation.bleu evaluation.characters evaluation.embeddings"
        " evaluation.entropy"
        " evaluation.measures evaluation.resampling",
        "table.held_out": "answer coverage.generic decoding.mmi errors reranking responder"
        " table.decode table.tuning",
        "table.trained": "build config data.corpus errors loading model training.checkpoint",
        "table.result": "evaluation.resampling table.timing table.trained",
        "table.row": "backends decoding.mmi table.result",
        "table.render": "evaluation.resampling table.result",
        "table.plots": "errors table.result",
        "table.studies": "table.result",
        "table.origin": "config",
        "table.rows": "backends build config coverage.generic data.corpus decoding.mmi"
        " loading reranking responder shortlists table.decode table.held_out table.replies"
        " table.row table.timing table.trained training.checkpoint training.files training.lock",
    },
    {  # 6: the front ends
        "dvs2s": "answer loading responder",
        "cli": "",
        "cli.configs": "config errors serving.options",
        "cli.entry": "errors paths sweeps.command sweeps.job sweeps.plan",
        "cli.output": "errors",
        "cli.runtime": "backends build cli.configs data.corpus devices engine.engine errors loading"
        " responder",
        "cli.generic": "answer cli.configs cli.entry cli.output cli.runtime config coverage.generic"
        " data.corpus errors evaluation.diversity responder scoring",
        "cli.lens": "cli.configs cli.entry cli.lens_picture cli.output cli.runtime errors lens",
        "cli.lens_picture": "errors lens",
        "cli.calibrate": "cli.configs cli.entry cli.output cli.runtime coverage.calibration"
        " coverage.corpus coverage.levels data.corpus devices loading responder",
        "cli.prepare": "build cli.configs cli.entry data.corpus data.prepare",
        "cli.sweep_options": "errors",
        "cli.sweep": "cli.entry cli.output cli.sweep_options errors sweeps.plots sweeps.scaling"
        " sweeps.summary",
        "cli.train": "build build_training cli.entry config data.corpus devices errors"
        " parallel.errors"
        " parallel.group sweeps.job sweeps.measure"
        " sweeps.watch training.checkpoint"
        " training.lock training.loop training.options training.resume training.signals"
        " training.tracker validation",
        "cli.evaluate": "build cli.configs cli.entry cli.output cli.runtime config data.corpus"
        " evaluation.report parallel.group responder scoring",
        "cli.annotate_options": "errors",
        "cli.annotate": "annotation.* cli.annotate_options cli.entry errors training.lock",
        "cli.table_options": "cli.configs config errors",
        "cli.table_plan": "cli.entry cli.table_options config data.corpus errors table.row"
        " table.studies",
        "cli.table_yardstick": "cli.table_options data.corpus errors evaluation.vectors"
        " table.decode table.measure text.specials training.signals",
        "cli.table_training": "cli.table_plan cli.train config data.corpus errors"
        " training.checkpoint training.files training.lock",
        "cli.table_answers": "errors table.decode table.row table.rows training.signals",
        "cli.table": "build cli.entry cli.table_answers cli.table_options cli.table_plan"
        " cli.table_training cli.table_yardstick config data.corpus devices errors"
        " evaluation.vectors table.* topics training.files training.lock training.signals",
        "cli.bench": "bench.* build cli.configs cli.entry cli.output cli.runtime config data.batch"
        " data.corpus engine.engine errors loading ops.extension responder",
        "cli.voice": "answer cli.configs decoding.mmi errors loading reranking responder",
        "cli.generate": "answer cli.configs cli.entry cli.output cli.runtime cli.voice errors"
        " parallel.group",
        "cli.chat": "answer cli.configs cli.entry cli.runtime cli.voice",
        "cli.default_model": "errors training.signals",
        "cli.serve": "cli.configs cli.default_model cli.entry config errors serving.app"
        " serving.engine serving.http",
        "serving.ray_app": "serving.app serving.engine serving.options",
        "serving.app": "dvs2s serving.client serving.errors serving.guard serving.metrics"
        " serving.openai_routes serving.operations serving.options serving.pages"
        " serving.reply_route serving.services serving.shedding",
    },
)
ALLOWED = {row: allowed.split() for tier in TIERS for row, allowed in tier.items()}

# Names that run what is in a file when they read it, and those that write such files.
_EXECUTING = re.compile(
    r"(pickle|_pickle|cPickle|dill|cloudpickle|joblib|marshal|shelve)(\..*)?"
    r"|torch\.(load|save|hub|jit\.load|package|serialization)(\..*)?"
)
_TORCHTEXT = re.compile(r"torchtext(\.\w+)*")


def modules() -> dict[str, Path]:
    """Returns the file of every module of the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(p for p in parts if p != "__init__") or "dvs2s"] = path
    return found


def imported(source: str, module: str, *, is_package: bool = False) -> Iterator[str]:
    """Yields the full names that a module imports, whether modules or things inside of them."""
    full = "dvs2s" if module == "dvs2s" else f"dvs2s.{module}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                steps = full.split(".") if is_package else full.split(".")[:-1]
                base = ".".join([*steps[: len(steps) - node.level + 1], *base.split(".")])
            yield from (f"{base.rstrip('.')}.{alias.name}" for alias in node.names)


def arrows(source: str, module: str, known: set[str], *, is_package: bool = False) -> set[str]:
    """Returns the modules of ours that a module imports."""
    found = set()
    for name in imported(source, module, is_package=is_package):
        if name.split(".")[0] != "dvs2s":
            continue
        inner = name.removeprefix("dvs2s").removeprefix(".")
        while inner and inner not in known:
            inner = inner.rpartition(".")[0]  # a thing inside of a module
        found.add(inner or "dvs2s")
    return found


@functools.cache
def graph() -> dict[str, set[str]]:
    """Returns each module's imports.

    Without collecting garbage: a finaliser of another test that fails while Python 3.11 parses
    prints a traceback, which parses too, and the outer parse gives up (SystemError).
    """
    files = modules()
    gc.disable()
    try:
        return {
            name: arrows(
                path.read_text(encoding="utf-8"),
                name,
                set(files),
                is_package=path.name == "__init__.py",
            )
            for name, path in files.items()
        }
    finally:
        gc.enable()


def row_of(module: str) -> str | None:
    """Returns the row that speaks of a module: its own, or else the glob that fits."""
    if module in ALLOWED:
        return module
    fitting = [row for row in ALLOWED if fnmatchcase(module, row)]
    assert len(fitting) < 2, f"{module} fits several rows of the table: {fitting}"
    return fitting[0] if fitting else None


def tier_of(module: str) -> int:
    row = row_of(module)
    return next(i for i, tier in enumerate(TIERS) if row in tier)


def file_of(module: str) -> str:
    return str(modules()[module].relative_to(ROOT))


def executing(source: str) -> list[str]:
    """Returns what in a source can run code from a file that it reads, or writes such a file."""
    tree, names, found = ast.parse(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                found.append(f"{base}{alias.name}")
                names[alias.asname or alias.name] = f"{base}{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.append(_dotted(node, names))
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                safe = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg == "allow_pickle" and not safe:
                    found.append("pickle.allow_pickle")
            if ast.unparse(node.func).endswith(("import_module", "__import__")) and node.args:
                found.append(str(getattr(node.args[0], "value", "")))
    return sorted({name for name in found if _EXECUTING.fullmatch(name)})


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


def test_every_module_has_a_row() -> None:
    rows = {module: row_of(module) for module in modules()}
    without = [file_of(module) for module, row in rows.items() if row is None]
    assert not without, f"no row in the table of tests/test_architecture.py: {without}"
    assert set(ALLOWED) == set(rows.values()), "rows of the table without a module"


def test_every_import_is_in_the_table() -> None:
    wrong = [
        f"{file_of(module)} imports dvs2s.{target}: no such arrow in the table"
        for module, targets in graph().items()
        for target in sorted(targets)
        if not any(fnmatchcase(target, a) for a in ALLOWED.get(row_of(module) or "", []))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_arrow_leads_upwards() -> None:
    wrong = [
        f"{file_of(module)} (tier {tier_of(module)}) imports dvs2s.{target} "
        f"(tier {tier_of(target)}): an arrow leads to a lower tier or to a neighbour"
        for module, targets in graph().items()
        for target in sorted(targets)
        if tier_of(target) > tier_of(module)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_cycle() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(f"modules import one another in a circle: {' -> '.join(error.args[1])}")


def test_the_table_allows_nothing_that_nobody_uses() -> None:
    used: dict[str, set[str]] = {row: set() for row in ALLOWED}
    for module, targets in graph().items():
        used.setdefault(row_of(module) or "", set()).update(targets)
    idle = [
        f"{row} -> {allowed}: no module uses this arrow, take it out of the table"
        for row, entries in ALLOWED.items()
        for allowed in entries
        if not any(fnmatchcase(target, allowed) for target in used[row])
    ]
    assert not idle, "\n".join(idle)


def test_one_module_touches_torchtext() -> None:
    touching = set()
    for module, path in modules().items():
        source = path.read_text(encoding="utf-8")
        strings = (n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant))
        names = [*imported(source, module), *(s for s in strings if isinstance(s, str))]
        if any(_TORCHTEXT.fullmatch(name) for name in names):
            touching.add(module)
    assert touching == {"text.torchtext_adapter"}


def test_nothing_that_is_loaded_can_execute() -> None:
    found = {file_of(m): executing(p.read_text(encoding="utf-8")) for m, p in modules().items()}
    assert not {file: names for file, names in found.items() if names}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import dvs2s.text.english", {"text.english"}),
        ("from dvs2s import ops", {"ops"}),
        ("from dvs2s.model import Dvs2sModel, ModelSizes", {"model"}),
        ("def f():\n    from dvs2s.data import readers", {"data.readers"}),
        ("if TYPE_CHECKING:\n    from dvs2s.loading import load", {"loading"}),
        ("from .readers import FORMATS", {"data.readers"}),
        ("from . import readers", {"data.readers"}),
        ("from .. import model", {"model"}),
        ("import torch, numpy.typing", set()),
        ("from dvs2s import __version__", {"dvs2s"}),
    ],
)
def test_every_kind_of_import_is_seen(source: str, expected: set[str]) -> None:
    known = {"dvs2s", "text.english", "ops", "model", "data", "data.readers", "loading"}
    assert arrows(source, "data.options", known) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import pickle", ["pickle"]),
        ("import torch as t\nt.load(f)", ["torch.load"]),
        ("from torch import load", ["torch.load"]),
        ("import torch\nread = torch.jit.load", ["torch.jit.load"]),
        ("import numpy as np\nnp.load(f, allow_pickle=True)", ["pickle.allow_pickle"]),
        ("import numpy as np\nnp.load(f, allow_pickle=False)", []),
        ("from importlib import import_module\nimport_module('pickle')", ["pickle"]),
        ("import safetensors.torch\nsafetensors.torch.load(data)", []),
        ("'torch.load in a docstring'", []),
    ],
)
def test_every_kind_of_executing_load_is_seen(source: str, expected: list[str]) -> None:
    assert executing(source) == expected
