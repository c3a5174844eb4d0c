"""Laws that hold for every kind of search, the callback and the messages."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs2s.decoding.search import SearchOptions, search
from dvs2s.decoding.table import TableModel, random_table

KINDS = ["greedy", "beam", "sampling", "diverse_beam"]


def options_of(kind: str, **settings_of_kind) -> SearchOptions:
    num_best = 1 if kind == "greedy" else 3
    return SearchOptions(kind=kind, beam=4, groups=2, num_best=num_best, **settings_of_kind)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.permutations(range(5)), st.integers(0, 2))
def test_each_input_is_answered_as_if_alone(kind, seed, order, block_ngram):
    model = random_table(5, 6, seed=seed, grid=0.25, dead=0.1)
    model.allowed[2, 3:] = False
    options = options_of(kind, max_length=7, block_ngram=block_ngram, length_penalty=0.7)
    seeds = [11, 22, 33, 44, 55]
    together = search(model, options, input_seeds=seeds)
    shuffled = TableModel(lambda n, words: model.row(order[n], words), model.allowed[order])
    moved = search(shuffled, options, input_seeds=[seeds[number] for number in order])
    assert moved == [together[number] for number in order]
    for number in range(5):
        row = model.allowed[number : number + 1]
        alone = TableModel(lambda _, words, number=number: model.row(number, words), row)
        assert search(alone, options, input_seeds=[seeds[number]]) == [together[number]]


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.integers(0, 10**6),
    st.integers(0, 5),
    st.integers(5, 9),
    st.integers(0, 3),
)
def test_every_hypothesis_keeps_the_rules(kind, seed, min_length, max_length, block_ngram):
    model = random_table(4, 8, seed=seed, dead=0.05)
    model.allowed[:, 2] = False
    model.allowed[1, 5:] = False
    options = options_of(
        kind, min_length=min_length, max_length=max_length, block_ngram=block_ngram
    )
    for number, replies in enumerate(search(model, options)):
        assert 1 <= len(replies) <= options.num_best
        assert [reply.score for reply in replies] == sorted(
            (r.score for r in replies), reverse=True
        )
        for reply in replies:
            assert math.isfinite(reply.score)
            assert all(model.allowed[number, slot] for slot in reply.slots)
            assert model.eos_slot not in reply.slots
            if reply.finished:
                assert min_length <= len(reply.slots) < max_length
            assert len(reply.slots) <= max_length
            order = block_ngram or max_length + 1
            ngrams = [reply.slots[i : i + order] for i in range(len(reply.slots) - order + 1)]
            assert len(set(ngrams)) == len(ngrams)
            # The model's own log-probabilities, word by word.
            words = (*reply.slots, model.eos_slot) if reply.finished else reply.slots
            expected = [model.row(number, words[:i])[slot] for i, slot in enumerate(words)]
            assert reply.token_log_probs == pytest.approx(expected, abs=1e-6)
            assert reply.log_prob == pytest.approx(math.fsum(expected), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_no_inputs_give_no_replies(kind):
    assert search(random_table(0, 4, seed=0), options_of(kind)) == []


@pytest.mark.parametrize("kind", ["greedy", "sampling"])
def test_the_callback_sees_the_words_of_the_replies(kind):
    model = random_table(4, 5, seed=8)
    options = SearchOptions(kind=kind, num_best=1, max_length=6)
    streamed = {number: [] for number in range(4)}

    def note(inputs, slots):
        for number, (slot,) in zip(inputs, slots, strict=True):
            streamed[number].append(slot)

    replies = search(model, options, on_step=note)
    assert {len(reply.slots) for (reply,) in replies} != {6}  # some ended early
    for number, (reply,) in enumerate(replies):
        assert streamed[number] == [*reply.slots, *([0] if reply.finished else [])]


def test_the_callback_sees_all_samples_and_no_words_of_a_beam():
    model = random_table(2, 4, seed=8)
    seen = []
    sampling = SearchOptions(kind="sampling", num_best=3, max_length=5)
    samples = search(model, sampling, on_step=lambda inputs, slots: seen.append(slots))
    assert all(len(group) == 3 for slots in seen for group in slots)
    first = sorted(slots[0] for slots in (reply.slots or (0,) for reply in samples[0]))
    assert sorted(seen[0][0]) == first
    seen.clear()
    search(model, SearchOptions(max_length=5), on_step=lambda inputs, slots: seen.append(slots))
    assert seen and all(group == [] for slots in seen for group in slots)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_input_keeps_its_words_and_leaves_the_others_alone(kind):
    model = random_table(4, 6, seed=21)
    model.allowed[:, 0] = False  # nobody ends by itself
    options = options_of(kind, max_length=6)
    active = []

    def stop(inputs, slots):
        active.append(list(inputs))
        return {2} if len(active) == 2 else None

    stopped, free = search(model, options, on_step=stop), search(model, options)
    assert active == [[0, 1, 2, 3]] * 2 + [[0, 1, 3]] * 4
    assert {len(reply.slots) for reply in stopped[2]} == {2}
    assert not any(reply.finished for reply in stopped[2])
    assert [stopped[i] for i in (0, 1, 3)] == [free[i] for i in (0, 1, 3)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("when", [0, 2])
def test_values_that_are_no_log_probabilities_are_refused(kind, value, when):
    def row(number: int, words: tuple[int, ...]) -> list[float]:
        return [-9.0, -1.0, value if number == 1 and len(words) == when else -1.5, -2.0]

    model = TableModel(row, torch.ones(2, 4).bool())
    with pytest.raises(ValueError, match="log_probs must be free of NaN"):
        search(model, options_of(kind, top_k=0, max_length=5))


@pytest.mark.parametrize(
    ("settings_given", "message"),
    [
        (
            {"kind": "bream"},
            "kind must be one of greedy, beam, sampling, diverse_beam, got 'bream'.*search.kind",
        ),
        ({"beam": 0}, "beam must be at least 1, got 0: set search.beam to 1 or more"),
        ({"beam": True}, "beam must be a whole number, got True"),
        ({"num_best": 0}, "num_best must be at least 1, got 0"),
        ({"beam": 3, "num_best": 4}, "num_best must be at most search.beam=3, got 4"),
        ({"kind": "greedy", "num_best": 2}, "num_best must be 1 for greedy search, got 2"),
        ({"length_penalty": -0.1}, "length_penalty must be at least 0, got -0.1"),
        ({"length_penalty": math.nan}, "length_penalty must be a finite number, got nan"),
        ({"min_length": -1}, "min_length must be at least 0, got -1"),
        ({"min_length": 50}, "min_length must be at most search.max_length=40, got 50"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
        ({"max_length": 2.5}, "max_length must be a whole number, got 2.5"),
        ({"block_ngram": -1}, "block_ngram must be at least 0, got -1"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"temperature": "hot"}, "temperature must be a finite number, got 'hot'"),
        ({"top_k": -1}, "top_k must be at least 0, got -1"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0"),
        ({"top_p": 1.1}, "top_p must be above 0 and at most 1, got 1.1"),
        ({"diversity": -0.5}, "diversity must be at least 0, got -0.5"),
        ({"groups": 0}, "groups must be at least 1, got 0"),
        ({"kind": "diverse_beam", "beam": 4}, "groups must be a divisor of search.beam=4, got 5"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_options_out_of_range_are_named(settings_given, message):
    with pytest.raises(ValueError, match=message) as caught:
        SearchOptions(**settings_given)
    assert "search." in str(caught.value)


def test_a_model_or_seeds_that_do_not_fit_are_refused():
    model, options = random_table(2, 4, seed=0), SearchOptions(kind="sampling")
    with pytest.raises(ValueError, match="input_seeds must hold one seed for each of 2 inputs"):
        search(model, options, input_seeds=[1])
    with pytest.raises(ValueError, match="input_seeds must be at least 0, got -3"):
        search(model, options, input_seeds=[1, -3])
    model.eos_slot = 4
    with pytest.raises(ValueError, match="eos_slot must be one of the 4 slots, got 4"):
        search(model, options)
    model.allowed = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"allowed must be a bool tensor of shape .* = \(2, 4\)"):
        search(model, options)


def test_search_keeps_no_graph_and_touches_no_global_randomness():
    weight = torch.zeros(4, requires_grad=True)
    model = random_table(1, 4, seed=0)
    table_start, graphs = model.start, []

    def start():
        log_probs, state = table_start()
        graphs.append((log_probs + weight).requires_grad)
        return log_probs + weight, state

    model.start = start  # type: ignore[method-assign]
    before = torch.get_rng_state()
    search(model, SearchOptions(kind="sampling", num_best=5))
    assert graphs == [False]
    assert torch.equal(torch.get_rng_state(), before)
