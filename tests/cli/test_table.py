"""The table on a tiny corpus: made once, continued after a stop, refused when mixed."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Compose

from dvs2s.build import prepared_data
from dvs2s.coverage.generic import find_bound, from_content
from dvs2s.errors import DataError
from dvs2s.loading import load
from dvs2s.scoring import grouped
from dvs2s.table.decode import Speaker
from dvs2s.table.trained import check_same_data
from dvs2s.training.lock import RunLock

pytest.importorskip("gensim")
pytest.importorskip("matplotlib")
ROWS = ["S2SA", "S2SA-MMI-bidi", "S2SA-lexical", "TA-S2S", "CVAE", "DVS2S"]
TA_S2S = ("objective=ta_s2s", "model.num_topics=4", "model.topic_words=6")
SHORT = (
    "objective.topic_common=0",
    "trainer.max_updates=6",
    "trainer.validate_every=6",
    "trainer.save_every=3",
)


@pytest.fixture
def table(tiny: tuple[str, ...], tmp_path: Path) -> tuple[str, ...]:
    """The overrides of a table that takes seconds."""
    return (
        *tiny,
        *SHORT,
        "table.name=t",
        "table.seeds=[0,1]",
        f"table.only=[{','.join(ROWS)}]",
        f"table.models.TA-S2S.overrides=[{','.join(map(repr, TA_S2S))}]",
        "table.resamples=100",
        "table.batch_size=8",
        "table.timing_messages=0",
        f"table.work={tmp_path}/made",
        f"table.results={tmp_path}/results",
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def test_a_table_is_made_once_and_its_runs_serve_a_study(
    command: Command, table: tuple[str, ...], tmp_path: Path
) -> None:
    timed = [
        *table,
        "table.timing_messages=2",
        "table.timing_rounds=1",
        "table.rows.CVAE.seeds=[1]",
    ]
    ran = command("table", *timed)
    assert ran.code == 0 and ran.out == f"{tmp_path}/results: written\n"
    made = contents(tmp_path / "results")
    assert set(made) == {"table.md", "table.csv", "table.json", "bars.png", "size.png", "time.png"}
    assert all(made[name].startswith(b"\x89PNG") for name in made if name.endswith(".png"))
    result = json.loads(made["table.json"])
    assert list(result["plain"]) == ROWS and list(result["times"]) == ROWS
    for metric in ("BLEU-2", "Average", "distinct-2", "generic share", "entropy a word"):
        for row in ROWS:
            estimate = result["estimates"][metric][row]
            seeds = 1 if row == "CVAE" else 2
            assert len(estimate["by_seed"]) == seeds
            assert estimate["value"] == pytest.approx(sum(estimate["by_seed"]) / seeds)
    assert "**Fewer seeds: CVAE 1.**" in made["table.md"].decode()
    assert not (tmp_path / "made" / "models" / "CVAE-0").exists()
    assert (tmp_path / "made" / "replies" / "CVAE-1.jsonl").exists()
    trained = result["trained"]
    assert list(trained) == ROWS and all(
        t["updates"] == 6 for n, t in trained.items() if "-bidi" not in n
    )
    assert trained["S2SA-MMI-bidi"]["parameters"] == 2 * trained["S2SA"]["parameters"]
    assert trained["S2SA"]["parameters"] < trained["DVS2S"]["parameters"]
    assert all(cost["seconds"] > 0 for cost in trained.values())
    assert "threads 1, engine=plain" in result["origin"]["timing"]
    assert result["plain"]["S2SA-lexical"]["mean |T|"] == 40
    assert str(tmp_path) not in made["table.md"].decode() + made["table.json"].decode()

    said = (tmp_path / "made" / "replies" / "S2SA-lexical-1.jsonl").read_text().splitlines()
    assert [set(json.loads(line)) for line in said] == [{"message", "reply", "references"}] * len(
        said
    )

    again = command("table", *timed)
    assert again.code == 0 and again.out == f"{tmp_path}/results: up to date, nothing to do\n"
    assert "training in" not in again.err and contents(tmp_path / "results") == made

    check_studies(command, table, tmp_path)

    evaluated = command(
        "evaluate", f"checkpoint={tmp_path}/made/models/S2SA-0", "search.vocabulary=lexical"
    )
    assert evaluated.code == 0 and "lexical shortlist, |T| = 40" in evaluated.out
    refused = command(
        "generate", f"checkpoint={tmp_path}/made/models/S2SA-0", "search.vocabulary=lexical"
    )
    assert refused.code == 2 and "counts the training corpus, which is not here" in refused.err


def check_studies(command: Command, table: tuple[str, ...], tmp_path: Path) -> None:
    """Every study is drawn, from the table's runs where it can; the second time nothing is done."""
    values = ("table.values.sizes=[30,40]", "table.values.alphas=[0,1]",
              "table.values.exponents=[0,1]", "table.values.prices=[0,0.01]")  # fmt: skip
    # rows of each study, and the models that it trains; 57 words are the full vocabulary
    expected = {
        "alpha": (4, {"S-DVS2S"}),
        "size": (12, set()),
        "exponent": (2, {"DVS2S-exponent=0", "DVS2S-exponent=1"}),
        "price": (2, {"DVS2S-price=0", "DVS2S-price=0.01"}),
    }
    for study, (rows, trained) in expected.items():
        ran = command("table", *table, *values, "table.seeds=[0]", f"table.study={study}")
        assert ran.code == 0, ran.err
        assert set(re.findall(r"(\S+), seed 0", ran.err)) == trained
        folder = tmp_path / "results" / f"study-{study}"
        drawn = contents(folder)
        assert set(drawn) == {"table.md", "table.csv", "table.json", "curves.png"}
        result = json.loads(drawn["table.json"])
        assert len(result["points"]) == len(result["plain"]) == rows
    again = command("table", *table, *values, "table.seeds=[0]", "table.study=price")
    assert again.out == f"{tmp_path}/results/study-price: up to date, nothing to do\n"
    sizes = json.loads((tmp_path / "results" / "study-size" / "table.json").read_bytes())
    assert {point["x"] for point in sizes["points"].values()} == {30, 40, 57}
    assert {row["mean |T|"] for row in sizes["plain"].values()} == {30.0, 40.0, 57.0}
    objectives = {}
    for name in ("exponent=1", "price=0.01"):
        run = tmp_path / "made" / "models" / f"DVS2S-{name}-0"
        config = json.loads((run / "checkpoints/update-00000006/config.json").read_bytes())
        objectives[name] = config["train"]["objective"]
    negatives = objectives["exponent=1"]["negatives"]
    assert (negatives["kind"], negatives["exponent"]) == ("sampled", 1.0)
    assert objectives["price=0.01"]["price"] == 0.01 and objectives["price=0.01"]["budget"] == 0


def test_a_stop_anywhere_is_continued_to_the_same_table(
    command: Command, table: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = [*table, "table.seeds=[0]", "table.only=[S2SA,S2SA-MMI-bidi]"]
    assert command("table", *one).code == 0
    expected = json.loads((tmp_path / "results" / "table.json").read_bytes())["estimates"]

    other = [o.replace(f"{tmp_path}/", f"{tmp_path}/other/") for o in one]
    other.append("table.name=t")
    answers, calls = Speaker.answers, iter(range(99))
    stops = {1, 3, 5}

    def stopped(self: Speaker, *arguments: Any) -> Any:
        found = answers(self, *arguments)
        if next(calls) in stops:
            os.kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(Speaker, "answers", stopped)
    codes = [command("table", *other).code for _ in range(len(stops) + 1)]
    assert codes == [75] * len(stops) + [0]
    actual = json.loads((tmp_path / "other" / "results" / "table.json").read_bytes())["estimates"]
    assert actual == expected


@pytest.mark.slow
def test_commands_beside_each_other_share_the_runs(table: tuple[str, ...], tmp_path: Path) -> None:
    arguments = [*table, "table.only=[S2SA,DVS2S]", "trainer.max_updates=40"]
    beside = [
        subprocess.Popen(
            [sys.executable, "-m", "dvs2s.cli.table", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=200) for process in beside]
    assert [process.returncode for process in beside] == [0, 0], ends
    results = f"{tmp_path}/results: "
    expected = [results + "up to date, nothing to do\n", results + "written\n"]
    assert sorted(out for out, _ in ends) == expected
    trained = [re.findall(r"^(\S+, seed \d)$", err, re.MULTILINE) for _, err in ends]
    runs = [f"{model}, seed {seed}" for model in ("DVS2S", "S2SA") for seed in (0, 1)]
    assert sorted(trained[0] + trained[1]) == runs  # each by one of the two


@pytest.mark.slow
def test_a_row_that_another_process_answers_is_left_to_it(
    command: Command, table: tuple[str, ...], tmp_path: Path
) -> None:
    arguments = [*table, "table.only=[S2SA,S2SA-frequency]"]
    assert command("table", *arguments).code == 0
    expected = json.loads((tmp_path / "results" / "table.json").read_bytes())["estimates"]
    summaries = sorted((tmp_path / "made" / "decoded").glob("*.json"))
    assert len(summaries) == 4  # two rows, two seeds
    for path in (tmp_path / "results" / "table.json", *summaries):
        path.unlink()

    def begin() -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "dvs2s.cli.table", *arguments]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        heard = iter(process.stderr.readline, "")
        assert any(re.search("other processes answer: S2SA(-frequency)? [01]$", s) for s in heard)
        return process

    with RunLock(tmp_path / "made" / "locks", name=summaries[0].stem):
        stopped = begin()
        assert [path.exists() for path in summaries] == [False, True, True, True]
        stopped.send_signal(signal.SIGTERM)
        assert stopped.wait(60) == 75
        stopped.communicate()
        waiting = begin()
    out, err = waiting.communicate(timeout=200)
    assert (waiting.returncode, out) == (0, f"{tmp_path}/results: written\n"), err
    actual = json.loads((tmp_path / "results" / "table.json").read_bytes())["estimates"]
    assert actual == expected


def test_rows_search_as_this_command_says_and_apart_from_a_reranked_one(
    command: Command, table: tuple[str, ...], tmp_path: Path
) -> None:
    one = [*table, "table.seeds=[0]", "table.only=[S2SA,S2SA-MMI-bidi]"]
    assert command("table", *one).code == 0  # by a beam, which the checkpoints remember
    ran = command("table", *one, "search.kind=greedy")
    assert ran.code == 0 and "training in" not in ran.err
    said = [
        json.loads(line)
        for line in (tmp_path / "made" / "replies" / "S2SA-0.jsonl").read_text().splitlines()
    ]
    bot = load(tmp_path / "made" / "models" / "S2SA-0")
    greedy = bot.answers([row["message"] for row in said], bot.search_config(kind="greedy"))
    assert [row["reply"] for row in said] == [" ".join(a.replies[0].tokens) for a in greedy]
    about = json.loads((tmp_path / "results" / "table.json").read_bytes())["origin"]["rows"]
    assert "kind=greedy vocabulary=full" in about["S2SA"]


def test_a_row_with_a_bound_prices_generic_replies_on_held_out_messages(
    command: Command, table: tuple[str, ...], tmp_path: Path
) -> None:
    one = [*table, "table.seeds=[0]", "table.only=[DVS2S,DVS2S-bounded]", "search=greedy"]
    priced = [*one, "table.rows.DVS2S-bounded.search.generic_share=0.4"]
    ran = command("table", *priced, "search.beam=4")
    assert ran.code == 0, ran.err
    folder = tmp_path / "made"
    said = [
        json.loads(line)
        for line in (folder / "replies" / "DVS2S-bounded-0.jsonl").read_text().splitlines()
    ]
    (stored,) = folder.glob("generic-*.json")
    bot = load(folder / "models" / "DVS2S-0")
    search = {"kind": "beam", "beam": 4, "num_best": 4, "vocabulary": "size", "alpha": 0.0}
    valid = prepared_data(bot.config.data, progress=False).split("valid")
    held_out = [valid.message(group[0]) for group in grouped(valid, len(valid))]
    texts = [" ".join(bot.vocabulary.decode(ids.tolist())) for ids in held_out]
    answers = bot.answers(texts, bot.search_config(**search))
    expected = find_bound(answers, {}, [0.4], 20)
    found = from_content(json.loads(stored.read_bytes()))
    assert found.replies == expected.replies and found.messages == expected.messages
    assert found.prices[0.4] == pytest.approx(expected.prices[0.4], abs=1e-4)
    price = found.prices[0.4]
    assert price is not None
    lists = bot.answers([row["message"] for row in said], bot.search_config(**search))
    best = [found.ranked(answer, price, 1).replies[0].tokens for answer in lists]
    assert [row["reply"] for row in said] == [" ".join(tokens) for tokens in best]

    few = command("table", *one, "table.tune_messages=3")
    assert few.code == 2 and "generic_share=0.1 cannot be kept by prices from 1 messages" in few.err


def test_rows_of_other_data_are_refused(
    command: Command, compose: Compose, run_dir: Path, table: tuple[str, ...], tmp_path: Path
) -> None:
    other = ("data.vocabulary_size=45", f"data.prepared={tmp_path}/other")
    data = prepared_data(compose("train", *table_free(table), *other).data, progress=False)
    with pytest.raises(DataError, match="row 'DVS2S' was trained with another data than this"):
        check_same_data("DVS2S", run_dir, data)
    ran = command("table", *table, *other, f"table.models.DVS2S.run={run_dir}", "table.seeds=[0]",
                  "table.only=[DVS2S]")  # fmt: skip
    assert ran.code == 2 and "differs from the one that made it in the corpus" in ran.err


def table_free(overrides: tuple[str, ...]) -> list[str]:
    return [o for o in overrides if not o.startswith("table.")]


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("table.rows.CVAE.seeds=[1,1]", "table.rows.CVAE.seeds must be different numbers"),
        ("table.timing_engine=int8", "table.timing_engine must be plain or auto, got 'int8'"),
        ("table.seeds=[]", "table.seeds must hold at least one seed"),
        ("table.only=[nobody]", "table.only must name rows among S2SA"),
        ("table.study=colour", "table.study must be empty or one of size, alpha"),
        ("table.rows.DVS2S.model=none", "table.rows.DVS2S.model must be one of S2SA"),
        (
            "table.rows.S2SA-MMI-bidi.search.generic_share=0.1",
            "must be ranked again or have a generic_share below 1, got both: rerank=bidirectional",
        ),
        ("table.seeds=[1,1]", "table.seeds must be different numbers"),
        ("table.models.S2SA.run=x", "table.models.S2SA.run must hold {seed} for 2 seeds"),
        ("table.vectors=nowhere.vec", "cannot read table.vectors=nowhere.vec"),
    ],
)
def test_a_mistake_is_explained_before_anything_is_trained(
    command: Command, table: tuple[str, ...], option: str, reason: str
) -> None:
    ran = command("table", *table, option)
    assert ran.code == 2 and reason in ran.err and "training in" not in ran.err
