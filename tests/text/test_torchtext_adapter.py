"""The torchtext adapter, and the traps of torchtext 0.6.0."""

import gzip
import re
import ssl
from collections import Counter
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs2s.errors import DataError, Dvs2sError
from dvs2s.text import torchtext_adapter as adapter


@given(
    st.dictionaries(st.text("abcd", min_size=1, max_size=3), st.integers(1, 5)),
    st.integers(1, 30),
    st.integers(1, 4),
)
def test_words_are_chosen_like_a_plain_sort(
    counts: dict[str, int], max_size: int, min_count: int
) -> None:
    special = "ab"
    actual = adapter.build_words(counts, max_size, min_count, specials=[special])
    kept = [(w, n) for w, n in counts.items() if n >= min_count and w != special]
    assert actual == sorted(kept, key=lambda pair: (-pair[1], pair[0]))[:max_size]


def test_counter_is_left_alone() -> None:
    counter = Counter(a=2, b=1)
    adapter.build_words(counter, 1, 1, specials=["a"])
    assert counter == {"a": 2, "b": 1}


@pytest.mark.parametrize(("size", "least", "name"), [(0, 1, "max_size"), (1, 0, "min_count")])
def test_sizes_are_checked(size: int, least: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        adapter.build_words({"a": 1}, size, least)


@pytest.mark.parametrize("header", ["", "3 4\n"])
@pytest.mark.parametrize("suffix", [".vec", ".txt.gz"])
def test_vectors_are_aligned(
    tmp_path: Path, header: str, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"vectors{suffix}"
    text = header + "cat 1 2 3 4\nünï 0.5 0 0 -1e-1\ndog 5 6 7 8\n"
    content = text.encode()
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    context = ssl._create_default_https_context
    matrix, found = adapter.load_vectors(path, ["dog", "bird", "ünï"])
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, np.float32([[5, 6, 7, 8], [0] * 4, [0.5, 0, 0, -0.1]]))
    assert found.tolist() == [True, False, True]
    # No cache beside the file, no progress bar, and certificates are still checked.
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert capfd.readouterr() == ("", "")
    assert ssl._create_default_https_context is context


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat 1 2 3\nnew york 1 2 3\n", ":2: 4 numbers.*space inside the word"),
        ("cat 1 2 3\ndog 1 2\n", ":2: 2 numbers after the word, expected 3"),
        ("cat 1 2 3\ndog 1 x 3\n", ":2: not a row of finite numbers"),
        ("cat 1 2 nan\n", ":1: not a row of finite numbers"),
        ("cat 1 2\n", "expected at least 3"),
        ("", "no vectors"),
    ],
)
def test_bad_vectors_name_file_and_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=f"bad.txt.*{message}"):
        adapter.load_vectors(path, ["cat"])


def test_missing_and_torn_vector_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none.txt: cannot read"):
        adapter.load_vectors(tmp_path / "none.txt", ["cat"])
    torn = tmp_path / "torn.gz"
    torn.write_bytes(gzip.compress(b"cat 1 2 3\n" * 1000)[:-20])
    with pytest.raises(DataError, match="torn.gz: cannot read"):
        adapter.load_vectors(torn, ["cat"])


def test_other_versions_and_a_missing_torchtext_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "0.18.0")
    with pytest.raises(Dvs2sError, match=r"torchtext 0.18.0 .*`pip install torchtext==0.6.0`"):
        adapter.basic_english()

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(Dvs2sError, match=r"not installed: run `pip install torchtext==0.6.0`"):
        adapter.basic_english()


def test_only_the_adapter_imports_torchtext() -> None:
    package = Path(adapter.__file__).parents[1]
    users = [
        path.name
        for path in package.rglob("*.py")
        if re.search(r"(import|from) torchtext\b|[\"']torchtext[.\"']", path.read_text("utf-8"))
    ]
    assert users == ["torchtext_adapter.py"]
