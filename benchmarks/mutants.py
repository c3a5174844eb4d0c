"""Has every test of the operators, kernels and engine been seen red? Mistakes made on purpose.

python benchmarks/mutants.py                       all of benchmarks/mutants.toml, about an hour
python benchmarks/mutants.py --only chooser        those whose file, mistake or tests match
python benchmarks/mutants.py --out benchmarks/results/mutants.md

Each entry of the list is one plausible mistake: a file, the right text (``old``), the wrong one
(``new``) and the tests (``red``) that are there to see it. It is made in a copy of the tree, what
it touches is built there (C++ for the CPU; the tests build the emulated GPU's kernels themselves),
and those tests are run. Red is a test that fails, not one that cannot start. Hypothesis draws the
same examples every time and does not shrink. Every test is run on the right code first.

With ``ccache`` on PATH (or named by --ccache) a build takes seconds instead of a minute.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("tests/ops", "tests/layers", "tests/cuda_ext", "tests/engine")
COPIED = ("dvs2s", "tests", "cuda_ext", "examples", "conf", "data", "pyproject.toml")
BUILT = ("cuda_ext/csrc/cpu", "cuda_ext/csrc/decode_cpu", "cuda_ext/csrc/checks.h")
PLUGIN = """
from hypothesis import Phase, settings
settings.register_profile(
    "mutants", phases=(Phase.explicit, Phase.generate), derandomize=True, database=None)
settings.load_profile("mutants")
"""


@dataclass(frozen=True)
class Mutant:
    """A mistake, and the tests that are to see it."""

    mistake: str
    file: str
    old: str
    new: str
    red: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: the tests that turned red, and why not where that is known."""

    mutant: Mutant
    red: frozenset[str]
    trouble: str = ""

    @property
    def survived(self) -> list[str]:
        """The tests that were to turn red and did not."""
        return [test for test in self.mutant.red if test not in self.red]


def read_list(path: Path) -> list[Mutant]:
    """Returns the mutants of a TOML file.

    Raises:
        SystemExit: an entry whose ``old`` is not in its file exactly once.
    """
    mutants = []
    for entry in tomllib.loads(path.read_text())["mutant"]:
        red = tuple(f"tests/{test}" for test in entry.pop("red"))
        mutant = Mutant(**entry, red=red)
        count = (ROOT / mutant.file).read_text().count(mutant.old)
        if count != 1:
            raise SystemExit(
                f"{path}: old must be in {mutant.file} once, found {count} times: {mutant.old!r}"
            )
        mutants.append(mutant)
    return mutants


class NotRunError(Exception):
    """The mistake does not build, or its tests do not start: nothing is said of them."""


class Bench:
    """A copy of the tree in which one mistake at a time is made.

    Args:
        folder: where the copy and the built extension live.
        ccache: the compiler cache, or "" for none.
    """

    def __init__(self, folder: Path, ccache: str) -> None:
        self.tree, self.built = folder / "tree", folder / "built"
        self._names, self._ccache = folder / "names", ccache
        for name in COPIED:
            source, target = ROOT / name, self.tree / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)
        (folder / "plugin").mkdir()
        (folder / "plugin" / "same_examples.py").write_text(PLUGIN)
        self._names.mkdir()
        if ccache:  # the emulated GPU's build takes the first g++ on PATH
            (self._names / "g++").symlink_to(ccache)

    def environment(self, mutant: Mutant | None) -> dict[str, str]:
        """Returns the environment of a build or a test run."""
        paths = [self.tree.parent / "plugin", self.tree]
        if self.built.exists():
            paths.insert(0, self.built)
        own = {
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{self._names}{os.pathsep}{os.environ['PATH']}",
            "DVS2S_PLANNER": str(self.tree / "no-planner.json"),
        }
        return os.environ | own | (mutant.env if mutant else {})

    def build(self) -> None:
        """Builds the CPU extension of the copy."""
        command = [sys.executable, "setup.py", "-q", "build_ext", "--force"]
        command += ["--build-lib", str(self.built), "--build-temp", str(self.tree / "objects")]
        environment = self.environment(None) | {"DVS2S_CUDA": "0"}
        if self._ccache:
            environment |= {"CC": f"{self._ccache} gcc", "CXX": f"{self._ccache} g++"}
        done = subprocess.run(
            command, cwd=self.tree / "cuda_ext", env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise NotRunError(f"it does not build: {done.stderr[-500:]}")
        shutil.copy2(self.tree / "cuda_ext/dvs2s_ext/__init__.py", self.built / "dvs2s_ext")

    def failing(self, tests: Sequence[str], mutant: Mutant | None) -> frozenset[str]:
        """Returns those of the test functions that fail; a crash is laid to the test alone."""
        command = [sys.executable, "-P", "-m", "pytest", "-q", "--tb=no", "-p", "same_examples"]
        try:
            done = subprocess.run(
                [*command, *tests],
                cwd=self.tree,
                env=self.environment(mutant),
                capture_output=True,
                text=True,
                timeout=400,
            )
        except subprocess.TimeoutExpired:
            return frozenset(tests) if len(tests) == 1 else self._one_by_one(tests, mutant)
        if errors := re.findall(r"^ERROR .*", done.stdout, re.MULTILINE):
            raise NotRunError(f"tests do not start: {errors[0][:200]}")
        if done.returncode in (0, 1):
            lines = re.findall(r"^FAILED (\S+?::\w+)", done.stdout, re.MULTILINE)
            return frozenset(lines)
        if len(tests) > 1:
            return self._one_by_one(tests, mutant)
        crashed = done.returncode < 0 or done.returncode > 5
        return frozenset(tests) if crashed else frozenset()

    def _one_by_one(self, tests: Sequence[str], mutant: Mutant | None) -> frozenset[str]:
        return frozenset().union(*(self.failing([test], mutant) for test in tests))

    def attempt(self, mutant: Mutant) -> Outcome:
        """Makes the mistake, runs its tests, and takes the mistake back."""
        path = self.tree / mutant.file
        right = path.read_text()
        path.write_text(right.replace(mutant.old, mutant.new))
        try:
            if mutant.file.startswith(BUILT):
                self.build()
            return Outcome(mutant, self.failing(mutant.red, mutant))
        except NotRunError as error:
            return Outcome(mutant, frozenset(), str(error))
        finally:
            path.write_text(right)
            if mutant.file.startswith(BUILT):
                shutil.rmtree(self.built, ignore_errors=True)


def test_functions() -> list[str]:
    """Returns every test function of the folders, without its parameters."""
    command = [sys.executable, "-P", "-m", "pytest", "--collect-only", "-q", *FOLDERS]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    names = re.findall(r"^(tests/\S+?::\w+)", done.stdout, re.MULTILINE)
    return list(dict.fromkeys(names))


def report(outcomes: Iterable[Outcome], tests: Sequence[str]) -> str:
    """Returns the tables: test -> the mistakes that turned it red; what was not seen."""
    outcomes = list(outcomes)
    seen: dict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        for test in sorted(outcome.red):
            seen[test].append(f"{outcome.mutant.mistake} (`{Path(outcome.mutant.file).name}`)")
    never = [test for test in tests if test not in seen]
    lines = [
        f"{len(outcomes)} mistakes; {len(tests) - len(never)} of {len(tests)} test functions were "
        f"seen red.",
        "",
        "| test | mistakes that turned it red |",
        "|---|---|",
    ]
    lines += [
        f"| `{test.removeprefix('tests/')}` | {'; '.join(seen[test])} |"
        for test in tests
        if test in seen
    ]
    lines += ["", "## Not seen red", ""]
    lines += [f"- `{test.removeprefix('tests/')}`" for test in never] or ["None."]
    survived = [(o, test) for o in outcomes for test in o.survived]
    lines += ["", "## Mistakes that a test named for them did not see", ""]
    lines += [
        f"- {o.mutant.mistake} (`{o.mutant.file}`): `{test.removeprefix('tests/')}`"
        + (f", {o.trouble}" if o.trouble else "")
        for o, test in survived
    ] or ["None."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the campaign and prints or writes the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", type=Path, default=Path(__file__).with_suffix(".toml"))
    parser.add_argument("--only", default="", help="a pattern in the file, the mistake or a test")
    parser.add_argument("--out", type=Path, help="where the tables go, under what is above them")
    parser.add_argument("--ccache", default=shutil.which("ccache") or "", help="compiler cache")
    parser.add_argument("--work", type=Path, help="an empty folder to keep; else a temporary one")
    arguments = parser.parse_args()
    chosen = [
        mutant
        for mutant in read_list(arguments.list)
        if re.search(arguments.only, "\n".join([mutant.file, mutant.mistake, *mutant.red]))
    ]
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(arguments.work or Path(temporary), arguments.ccache)
        outcomes = run(bench, chosen)
    text = report(outcomes, test_functions())
    if arguments.out:
        head = arguments.out.read_text().split("\n---\n")[0] if arguments.out.exists() else ""
        arguments.out.write_text(f"{head.rstrip()}\n\n---\n\n{text}")
    else:
        print(text)


def run(bench: Bench, mutants: Sequence[Mutant]) -> list[Outcome]:
    """Returns what became of each, after a run of their tests on the right code.

    Raises:
        SystemExit: a test is red already.
    """
    groups: dict[tuple[tuple[str, str], ...], set[str]] = defaultdict(set)
    for mutant in mutants:
        groups[tuple(sorted(mutant.env.items()))] |= set(mutant.red)
    for env, tests in groups.items():
        if red := bench.failing(sorted(tests), Mutant("", "", "", "", (), dict(env))):
            raise SystemExit(f"red without a mistake: {', '.join(sorted(red))}")
    outcomes = []
    for mutant in tqdm(mutants, unit="mutant"):
        outcome = bench.attempt(mutant)
        outcomes.append(outcome)
        state = "SURVIVED" if outcome.survived else "red"
        named = ", ".join(outcome.survived) + (f" ({outcome.trouble})" if outcome.trouble else "")
        tqdm.write(f"{state}: {mutant.mistake} [{mutant.file}] {named}")
    return outcomes


if __name__ == "__main__":
    main()
