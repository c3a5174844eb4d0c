"""Slices of real corpora in their own formats, where they are at hand; the embedded one always."""

import gzip
from itertools import islice
from pathlib import Path

import pytest

from dvs2s.data.corpus import PreparedData
from dvs2s.data.loader import BucketSampler, Loader
from dvs2s.data.options import PrepareOptions
from dvs2s.data.prepare import prepare
from dvs2s.text.tokenizer import get_tokenizer

ROOT = Path(__file__).parents[2]
CORPORA = ROOT.parent / "shared" / "corpora"
needs_corpora = [
    pytest.mark.corpora,
    pytest.mark.skipif(not CORPORA.is_dir(), reason="../shared/corpora is not there"),
]


def cut(path: Path, target: Path, num_lines: int) -> Path:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        target.write_bytes(b"".join(islice(file, num_lines)))
    return target


def run(tmp_path: Path, sources: dict[str, list[Path]], **choices: object) -> PreparedData:
    options = PrepareOptions(**{"workers": 1, **choices})  # type: ignore[arg-type]
    prepare(sources, tmp_path / "out", options=options, progress=False)
    return PreparedData.open(tmp_path / "out")


class TestRealFiles:
    pytestmark = needs_corpora

    @pytest.mark.parametrize(
        ("name", "choices"),
        [
            ("dailydialog", {}),
            ("switchboard_en", {}),
            ("tvsubs_zh.jieba", {"tokenizer": "whitespace", "function_words": "jieba_tags"}),
            ("tvsubs_zh", {"tokenizer": "char", "function_words": "rank:100"}),
        ],
    )
    def test_tsv(self, tmp_path: Path, name: str, choices: dict[str, object]) -> None:
        train = cut(CORPORA / name / "train.tsv.gz", tmp_path / "train.tsv", 2000)
        valid = next((CORPORA / name).glob("valid.tsv*"))
        valid = cut(valid, tmp_path / "valid.tsv", 300)
        data = run(tmp_path, {"train": [train], "valid": [valid]}, **choices)
        numbers = data.manifest.splits["train"]
        assert 1990 <= numbers.pairs <= 2000 and not numbers.malformed
        assert numbers.unknown_message_tokens == 0
        assert 20 < data.vocabulary.num_fixed < len(data.vocabulary) / 2
        corpus, tokenizer = data.split("train"), get_tokenizer(data.vocabulary.tokenizer)
        loader = Loader(
            corpus,
            BucketSampler(corpus.message_lengths, corpus.response_lengths, max_tokens=2000, seed=0),
        )
        tokens = sum(next(loader).num_tokens for _ in range(loader.batches_per_epoch))
        assert tokens == numbers.response_tokens + numbers.pairs
        for i in range(100):
            words = data.vocabulary.decode(corpus.response(i))
            assert tokenizer.tokenize(tokenizer.detokenize(words)) == words

    def test_dailydialog(self, tmp_path: Path) -> None:
        raw = CORPORA / "raw" / "dailydialog"
        for split in ("train", "validation"):
            (tmp_path / split).mkdir()
            name = f"{split}/dialogues_{split}.txt"
            cut(raw / name, tmp_path / name, 200)
        sources = {"train": [tmp_path], "valid": [tmp_path]}
        data = run(tmp_path, sources, format="dailydialog", context_turns=3)
        text = (tmp_path / "train/dialogues_train.txt").read_text(encoding="utf-8")
        numbers = data.manifest.splits["train"]
        assert numbers.pairs + numbers.duplicates_dropped == text.count("__eou__") - 200
        assert not numbers.malformed

    def test_cornell(self, tmp_path: Path) -> None:
        folder = CORPORA / "raw" / "cornell_format_sample"
        sources = {split: [folder] for split in ("train", "valid", "test")}
        # This sample's texts hold line breaks, so that rows of its lines file are torn.
        data = run(tmp_path, sources, format="cornell", max_malformed_share=0.1)
        numbers = data.manifest.splits
        assert (numbers["train"].pairs, numbers["valid"].pairs) == (463, 26)
        assert numbers["train"].malformed == {"fewer than 5 fields": 114}


def test_embedded_smalltalk(tmp_path: Path) -> None:
    folder = ROOT / "data" / "smalltalk"
    sources = {split: [folder] for split in ("train", "valid", "test")}
    data = run(tmp_path, sources, format="smalltalk", context_turns=2)
    for numbers in data.manifest.splits.values():
        assert numbers.pairs > 100 and not numbers.malformed
    unknown = data.manifest.splits["test"].unknown_message_tokens
    assert unknown < 0.02 * data.manifest.splits["test"].message_tokens


def test_the_benchmark_runs(tmp_path: Path) -> None:
    import json
    import subprocess
    import sys

    script = ROOT / "benchmarks" / "prepare_million.py"
    out = tmp_path / "rows.json"
    subprocess.run(
        [sys.executable, str(script), "--pairs", "200", "--workers", "1", "--out", str(out)],
        check=True,
        capture_output=True,
    )
    rows = json.loads(out.read_text())["rows"]
    assert [row["pairs"] for row in rows] == [100, 200]
