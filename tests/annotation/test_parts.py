"""Blinding, agreement by hand, and labels that survive a crash."""

import json
import random
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs2s.annotation.agreement import fleiss_kappa
from dvs2s.annotation.sheet import load_sheet, make_sheet, read_replies, save_sheet
from dvs2s.annotation.store import LabelStore
from dvs2s.annotation.summary import summarise, to_markdown
from dvs2s.errors import DataError

# Fleiss 1971's layout with the counts of the usual textbook example: 10 items, 14 annotators.
TEXTBOOK = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]
SAID = {
    name: [(f"message {i} <sep> again", "same" if i % 4 == 0 else f"{name} says {i}")
           for i in range(30)]
    for name in ("S2SA", "DVS2S")
}  # fmt: skip


def test_kappa_by_hand():
    assert fleiss_kappa(TEXTBOOK) == pytest.approx(0.210, abs=5e-4)
    # two annotators, two labels: P = 1/2, shares 3/4 and 1/4, P_e = 10/16
    assert fleiss_kappa([[2, 0], [1, 1]]) == pytest.approx((0.5 - 0.625) / (1 - 0.625))
    assert fleiss_kappa([[3, 0], [0, 3]]) == pytest.approx(1.0)
    assert fleiss_kappa([[3, 0], [3, 0]]) == 1.0
    for bad in ([], [[1, 0]], [[2, 0], [3, 0]]):
        with pytest.raises(ValueError, match="counts must have the same number of labels"):
            fleiss_kappa(bad)


@given(st.integers(2, 5), st.lists(st.lists(st.integers(0, 2), min_size=5, max_size=5), min_size=1))
def test_kappa_equals_counting_pairs(number, drawn):
    labels = [row[:number] for row in drawn]
    pairs = [(a, b) for row in labels for i, a in enumerate(row) for j, b in enumerate(row)
             if i != j]  # fmt: skip
    observed = sum(a == b for a, b in pairs) / len(pairs)
    shares = Counter(label for row in labels for label in row)
    total = sum(shares.values())
    chance = sum((n / total) ** 2 for n in shares.values())
    actual = fleiss_kappa([[row.count(label) for label in range(3)] for row in labels])
    expected = 1.0 if len(shares) == 1 else (observed - chance) / (1 - chance)
    assert actual == pytest.approx(expected)


def test_a_sheet_is_blind_shuffled_and_fair(tmp_path):
    sheet = make_sheet(SAID, number=20, seed=3)
    assert len({item.message for item in sheet.items}) == 20
    for item in sheet.items:
        assert set(sheet.rows[item.id]) <= set(SAID)
        place = int(item.message.split()[1])
        assert item.message == f"message {place}\nagain"
        for row in sheet.rows[item.id]:
            assert SAID[row][place][1] == item.reply
        assert (item.reply == "same") == (len(sheet.rows[item.id]) == 2)
    per_row = Counter(row for rows in sheet.rows.values() for row in rows)
    assert per_row == {"S2SA": 20, "DVS2S": 20}
    order = [int(item.message.split()[1]) for item in sheet.items]
    assert order != sorted(order)
    assert make_sheet(SAID, number=20, seed=3) == sheet != make_sheet(SAID, number=20, seed=4)
    save_sheet(tmp_path / "sheet", sheet)
    assert load_sheet(tmp_path / "sheet") == sheet
    shown = (tmp_path / "sheet" / "items.jsonl").read_text()
    assert all(set(json.loads(line)) == {"id", "message", "reply"} for line in shown.splitlines())
    with pytest.raises(DataError, match="holds a sheet already"):
        save_sheet(tmp_path / "sheet", sheet)


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(ValueError, match="rows must answer the same messages .*'DVS2S'"):
        make_sheet({**SAID, "DVS2S": SAID["DVS2S"][::-1]}, number=2, seed=0)
    with pytest.raises(ValueError, match="number must be 1 to the 30 messages, got 31"):
        make_sheet(SAID, number=31, seed=0)
    with pytest.raises(ValueError, match="said must hold at least one row"):
        make_sheet({}, number=1, seed=0)
    with pytest.raises(DataError, match="holds no sheet"):
        load_sheet(tmp_path)
    with pytest.raises(DataError, match="cannot read"):
        read_replies(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"message": "a"}\n')
    with pytest.raises(DataError, match="not a file of replies"):
        read_replies(tmp_path / "bad.jsonl")


ITEMS = frozenset(f"{i:05d}" for i in range(1, 9))


def test_labels_survive_a_crash_at_any_byte(tmp_path):
    store = LabelStore(tmp_path, ITEMS)
    told = [("Ann", "00001", 2), ("Bö b", "00001", 0), ("Ann", "00002", 1), ("Ann", "00001", 1)]
    for label in told:
        store.add(*label)
    content = (tmp_path / "labels.jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    for cut in range(len(content) + 1):
        (tmp_path / "labels.jsonl").write_bytes(content[:cut])
        expected: dict[str, dict[str, int]] = {}
        for name, item, label in told[: sum(end <= cut for end in ends)]:
            expected.setdefault(name, {})[item] = label
        again = LabelStore(tmp_path, ITEMS)
        assert again.labels() == expected
        again.add("Cy", "00003", 2)
        assert LabelStore(tmp_path, ITEMS).labels() == {**expected, "Cy": {"00003": 2}}
    assert store.of("Ann") == {"00001": 1, "00002": 1} and store.of("nobody") == {}
    (tmp_path / "labels.jsonl").write_bytes(b'{"annotator": "Ann"}\n' + content)
    with pytest.raises(DataError, match="labels.jsonl:1: damaged"):
        LabelStore(tmp_path, ITEMS)


def test_many_threads_lose_nothing(tmp_path):
    store = LabelStore(tmp_path, ITEMS)
    threads = [
        threading.Thread(target=lambda n=n: [store.add(f"A{n}", item, n % 3) for item in ITEMS])
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    labels = LabelStore(tmp_path, ITEMS).labels()
    assert labels == store.labels() == {f"A{n}": dict.fromkeys(ITEMS, n % 3) for n in range(6)}


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (("", "00001", 1), "annotator must be a name"),
        (("../x/", "00001", 1), "annotator must be a name"),
        (("Ann", "99999", 1), "item must be one of the sheet's 8"),
        (("Ann", "00001", 3), "label must be one of 0, 1 and 2, got 3"),
        (("Ann", "00001", True), "label must be one of 0, 1 and 2, got True"),
        (("Ann", "00001", "1"), "label must be one of 0, 1 and 2, got '1'"),
    ],
)
def test_bad_labels_are_refused(tmp_path, label, message):
    with pytest.raises(ValueError, match=message):
        LabelStore(tmp_path, ITEMS).add(*label)
    assert not (tmp_path / "labels.jsonl").exists()


def test_a_filled_sheet_is_imported_whole_or_not_at_all(tmp_path):
    sheet = make_sheet(SAID, number=4, seed=0)
    save_sheet(tmp_path, sheet)
    ids = [item.id for item in sheet.items]
    store = LabelStore(tmp_path, frozenset(ids))
    filled = tmp_path / "filled.csv"
    filled.write_text(f"id,message,reply,label\n{ids[0]},m,r,2\n{ids[1]},m,r,\n{ids[2]},m,r,9\n")
    with pytest.raises(DataError, match="filled.csv:4: label must be one of"):
        store.import_sheet("Ann", filled)
    assert store.labels() == {}
    filled.write_text(filled.read_text().replace(",9", ", 0 "))
    assert store.import_sheet("Ann", filled) == 2
    assert store.of("Ann") == {ids[0]: 2, ids[2]: 0}


def test_a_summary_counts_by_row():
    sheet = make_sheet(SAID, number=30, seed=1)
    chance = random.Random(0)
    labels = {n: {i.id: chance.randint(0, 2) for i in sheet.items} for n in ("Ann", "Bob", "Cy")}
    del labels["Cy"][sheet.items[0].id]
    rows = {summary.name: summary for summary in summarise(sheet, labels)}
    assert list(rows) == ["DVS2S", "S2SA", "all items"]
    for name in ("DVS2S", "S2SA"):
        own = [i.id for i in sheet.items if name in sheet.rows[i.id]]
        given = [one[item] for one in labels.values() for item in own if item in one]
        assert rows[name].counts == tuple(given.count(label) for label in (0, 1, 2))
        assert rows[name].mean == pytest.approx(sum(given) / len(given))
        full = [item for item in own if all(item in one for one in labels.values())]
        counts = [[sum(one[i] == k for one in labels.values()) for k in range(3)] for i in full]
        assert rows[name].kappa == pytest.approx(fleiss_kappa(counts))
        assert rows[name].num_items == len(full)
    assert rows["all items"].num_items == len(sheet.items) - 1
    text = to_markdown(list(rows.values()), labels)
    assert f"Cy {len(sheet.items) - 1}" in text and "| DVS2S |" in text
    nothing = summarise(sheet, {})
    assert nothing[0].kappa is None and nothing[0].mean == 0
    # no label is not a mean of 0, which is the worst there is
    assert "| DVS2S | – | – | – | 0 | – | – |" in to_markdown(nothing, {})
