"""The recall of vocabularies: by hand, and tensors against plain sets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs2s.evaluation.vocabulary import Coverage, VocabularyRecall, vocabulary_recall


def test_hand_computed():
    gold = [[0, 1, 5, 5, 7], [2, 6]]
    vocabularies = [{0, 1, 2, 5}, {0, 1, 2, 6, 7}]
    actual = vocabulary_recall(gold, vocabularies, num_fixed=3)
    # Of 7 tokens only the 7 is missing; content words are 5, 7 | 6.
    assert actual.dynamic == Coverage(tokens=6 / 7, content_words=2 / 3, pairs=1 / 2)
    # The static lists are {0..3} and {0..4}: 5, 5, 7 and 6 are missing.
    assert actual.static == Coverage(tokens=3 / 7, content_words=0.0, pairs=0.0)
    assert actual.mean_size == 4.5
    assert (actual.num_pairs, actual.num_tokens, actual.num_content_words) == (2, 7, 3)
    assert list(actual.as_metrics()) == [
        "T token recall",
        "T content recall",
        "T whole-reply recall",
        "static token recall",
        "static content recall",
        "static whole-reply recall",
        "mean |T|",
    ]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_tensors_equal_sets(data):
    num_words = data.draw(st.integers(1, 9))
    num_fixed = data.draw(st.integers(0, num_words))
    word = st.integers(0, num_words - 1)
    pairs = data.draw(st.lists(st.tuples(st.lists(word, max_size=6), st.sets(word)), max_size=7))
    by_member = VocabularyRecall(num_words=num_words, num_fixed=num_fixed)
    by_ids = VocabularyRecall(num_words=num_words, num_fixed=num_fixed)
    for start in range(0, len(pairs), 3):
        batch = pairs[start : start + 3]
        gold = torch.full((len(batch), 8), data.draw(st.sampled_from([-100, 0, 10**6])))
        mask = torch.zeros(len(batch), 8, dtype=torch.bool)
        membership = torch.zeros(len(batch), num_words, dtype=torch.bool)
        words = torch.full((len(batch), num_words + 1), -1)
        for row, (reply, vocabulary) in enumerate(batch):
            # Padding may stand anywhere.
            places = data.draw(st.permutations(range(8)))[: len(reply)]
            gold[row, places] = torch.tensor(reply, dtype=torch.int64)
            mask[row, places] = True
            membership[row, list(vocabulary)] = True
            words[row, : len(vocabulary)] = torch.tensor(list(vocabulary), dtype=torch.int64)
        by_member.update(gold, mask, membership)
        lengths = torch.tensor([len(vocabulary) for _, vocabulary in batch])
        by_ids.update_ids(gold.int(), mask, words, lengths)
    gold_replies, vocabularies = [reply for reply, _ in pairs], [words for _, words in pairs]
    expected = vocabulary_recall(gold_replies, vocabularies, num_fixed=num_fixed)
    assert by_member.result() == expected
    assert by_ids.result() == expected


def test_the_static_list_may_have_an_order_of_its_own():
    gold, mask = torch.tensor([[0, 4, 3]]), torch.ones(1, 3, dtype=torch.bool)
    membership = torch.tensor([[True, True, False, False, False]])
    ranks = torch.tensor([0, 4, 3, 2, 1])  # the list begins with words 0 and 4
    recall = VocabularyRecall(num_words=5, num_fixed=1, static_ranks=ranks)
    recall.update(gold, mask, membership)
    assert recall.result().static == Coverage(tokens=2 / 3, content_words=1 / 2, pairs=0.0)
    assert recall.result().dynamic == Coverage(tokens=1 / 3, content_words=0.0, pairs=0.0)
    with pytest.raises(ValueError, match=r"static_ranks must be \(4,\), got \(5,\)"):
        VocabularyRecall(num_words=4, num_fixed=1, static_ranks=ranks)


def test_bad_input_is_refused():
    recall = VocabularyRecall(num_words=5, num_fixed=2)
    gold, mask = torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"membership must be bool of shape \(B, V\) = \(1, 5\)"):
        recall.update(gold, mask, torch.ones(1, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"gold and gold_mask must be \(B, T\)"):
        recall.update(gold, mask.long(), torch.ones(1, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="gold must hold ids from 0 to 4, got 5"):
        recall.update(gold + 3, mask, torch.ones(1, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="words must hold ids from 0 to 4, got -1"):
        recall.update_ids(gold, mask, torch.tensor([[1, -1]]), torch.tensor([2]))
    with pytest.raises(ValueError, match=r"words must be \(B, K\) and lengths \(B,\)"):
        recall.update_ids(gold, mask, torch.tensor([[1, 2]]), torch.tensor([2, 2]))
    assert recall.result().num_pairs == 0  # what was refused was not counted
    with pytest.raises(ValueError, match="num_fixed must be at most num_words=5, got 6"):
        VocabularyRecall(num_words=5, num_fixed=6)
    with pytest.raises(ValueError, match="vocabularies must be as many as the 1 gold replies"):
        vocabulary_recall([[1]], [], num_fixed=0)
    with pytest.raises(ValueError, match="num_fixed must be at least 0, got -1"):
        vocabulary_recall([[1]], [[1]], num_fixed=-1)
