"""The vocabulary: order of ids, unknown words, and its file."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs2s.errors import VocabularyError
from dvs2s.text.specials import BOS, EOS, PAD, SEP, SPECIALS, UNK
from dvs2s.text.vocabulary import Vocabulary

COUNTS = {"coffee": 7, "the": 5, "tea": 9, ".": 5, "rare": 1, "a": 6, "</s>": 50}


def build(counts: dict[str, int] = COUNTS, size: int = 5, rule: str = "english") -> Vocabulary:
    return Vocabulary.build(
        counts, size=size, min_count=1, function_rule=rule, tokenizer="basic_english"
    )


def test_ids_are_specials_then_function_words_then_content_words() -> None:
    vocabulary = build()
    assert vocabulary.words == (*SPECIALS, "a", ".", "the", "tea", "coffee")
    assert vocabulary.counts == (0, 0, 0, 0, 0, 6, 5, 5, 9, 7)
    assert (vocabulary.num_fixed, vocabulary.num_content, len(vocabulary)) == (8, 2, 10)
    assert [SPECIALS[i] for i in (PAD, UNK, BOS, EOS, SEP)] == list(SPECIALS)


def test_coverage_counts_unknown_and_special_strings_as_missing() -> None:
    assert build().coverage == pytest.approx(32 / 83)
    assert build(size=100).coverage == pytest.approx(33 / 83)


def test_special_strings_in_text_are_unknown_words() -> None:
    vocabulary = build(size=100)
    assert vocabulary.encode(list(SPECIALS)) == [UNK] * len(SPECIALS)
    assert [vocabulary.id(word) for word in SPECIALS] == [UNK] * len(SPECIALS)


def test_looking_up_unknown_words_does_not_grow_anything() -> None:
    vocabulary = build()
    size = len(vocabulary.ids)
    assert vocabulary.encode(f"never{i}" for i in range(1000)) == [UNK] * 1000
    assert len(vocabulary.ids) == size


@pytest.mark.parametrize("id", [-1, 10])
def test_ids_out_of_range_are_refused(id: int) -> None:
    with pytest.raises(ValueError, match=f"id must be 0 to 9, got {id}"):
        build().decode([id])


words = st.dictionaries(
    st.text(st.characters(codec=None, exclude_categories=()), min_size=1), st.integers(1, 9)
)


@given(words, st.integers(0, 5))
def test_saved_and_loaded_vocabulary_is_equal(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[str, int], rank: int
) -> None:
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.json"
    vocabulary = build({**counts, "x": 1}, size=20, rule=f"rank:{rank}")
    vocabulary.save(path)
    loaded = Vocabulary.load(path)
    assert loaded == vocabulary
    assert loaded.fingerprint == vocabulary.fingerprint
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_fingerprint_tells_words_fixed_and_tokenizer_apart() -> None:
    def make(words: tuple[str, ...] = ("a", "b"), fixed: int = 5, name: str = "char") -> str:
        return Vocabulary(SPECIALS + words, (0,) * (5 + len(words)), fixed, name, 0).fingerprint

    different = {make(), make(("b", "a")), make(("ab",)), make(fixed=6), make(name="jieba")}
    assert len(different) == 5


def test_torn_files_are_refused_at_every_length(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    build().save(path)
    content = path.read_bytes()
    for length in range(len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(VocabularyError, match=r"vocabulary\.json: damaged"):
            Vocabulary.load(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("words", ["a"]),
        ("words", "abc"),
        ("counts", [1]),
        ("num_fixed", 99),
        ("num_fixed", 6),
        ("num_fixed", True),
        ("tokenizer", None),
        ("total_tokens", -1),
        ("format", 2),
        ("fingerprint", "0"),
    ],
)
def test_inconsistent_files_are_refused(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps({**json.loads(build().to_json()), key: value}))
    with pytest.raises(VocabularyError, match="no valid vocabulary"):
        Vocabulary.load(path)


@pytest.mark.parametrize("content", [b"\x00\xff", b"[]", b"null", b"{}", b"[" * 100_000])
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_bytes(content)
    with pytest.raises(VocabularyError):
        Vocabulary.load(path)
    with pytest.raises(VocabularyError, match="none.json: cannot read"):
        Vocabulary.load(tmp_path / "none.json")


def test_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vocabulary.json"
    build().save(path)
    before = path.read_bytes()

    def fail(source: Path, target: Path) -> None:
        raise OSError("no space")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space"):
        build(size=1).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_no_frequent_word_is_said() -> None:
    with pytest.raises(ValueError, match="min_count=8 leaves no word.*occurs 7 times"):
        Vocabulary.build({"a": 7}, size=9, min_count=8, function_rule="english", tokenizer="char")
