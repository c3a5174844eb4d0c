"""Laws of the sampler: every pair once, resume, ranks, determinism."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dvs2s.data.loader import BucketSampler, Loader

Make = Callable[..., BucketSampler]


@st.composite
def samplers(draw: st.DrawFn) -> Make:
    """Draws lengths and a batch rule; gives a function that makes samplers of them."""
    num_pairs = draw(st.integers(1, 60))
    lengths = st.lists(st.integers(0, 9), min_size=num_pairs, max_size=num_pairs).map(np.array)
    messages, responses = draw(lengths), draw(lengths)
    rule = draw(
        st.one_of(
            st.fixed_dictionaries({"batch_size": st.integers(1, 70)}),
            st.fixed_dictionaries({"max_tokens": st.integers(19, 200)}),
        )
    )
    seed = draw(st.integers(0, 5))

    def make(**changes: object) -> BucketSampler:
        return BucketSampler(messages, responses, **{**rule, "seed": seed, **changes})

    make.lengths, make.rule = (messages, responses), rule  # type: ignore[attr-defined]
    return make


def take(sampler: BucketSampler, count: int) -> list[list[int]]:
    return [next(sampler).tolist() for _ in range(count)]


@given(samplers(), st.integers(1, 4), st.booleans())
def test_an_epoch_holds_each_pair_once_over_all_ranks(
    make: Make, world_size: int, shuffle: bool
) -> None:
    num_pairs = len(make.lengths[0])  # type: ignore[attr-defined]
    world_size = min(world_size, num_pairs)
    ranks = [make(rank=r, world_size=world_size, shuffle=shuffle) for r in range(world_size)]
    for _ in range(2):
        assert len({sampler.batches_per_epoch for sampler in ranks}) == 1
        batches = [b for sampler in ranks for b in take(sampler, sampler.batches_per_epoch)]
        assert all(batches)
        assert sorted(i for batch in batches for i in batch) == list(range(num_pairs))
        ranks_before = [sampler.state_dict() for sampler in ranks]
        once = [b.tolist() for sampler in ranks for b in sampler.one_epoch()]
        assert sorted(i for batch in once for i in batch) == list(range(num_pairs))
        assert [sampler.state_dict() for sampler in ranks] == ranks_before
        for sampler in ranks:  # starts the next epoch
            state = sampler.state_dict()
            sampler.load_state_dict({"epoch": state["epoch"] + 1, "position": 0})


def test_fewer_pairs_than_the_next_multiple_of_ranks() -> None:
    messages, responses = np.array([1, 1, 8, 8, 8, 8]), np.array([0, 0, 1, 1, 1, 1])
    ranks = [
        BucketSampler(messages, responses, max_tokens=10, seed=0, rank=rank, world_size=4)
        for rank in range(4)
    ]
    # Five batches cannot become eight of six pairs, so the last two become one.
    batches = sorted(sorted(b.tolist()) for sampler in ranks for b in sampler.one_epoch())
    assert batches == [[0, 1], [2], [3], [4, 5]]


@given(samplers())
def test_batches_keep_their_limit(make: Make) -> None:
    (messages, responses), rule = make.lengths, make.rule  # type: ignore[attr-defined]
    sampler = make()
    for batch in take(sampler, sampler.batches_per_epoch):
        if "batch_size" in rule:
            assert len(batch) <= rule["batch_size"]
        else:
            width = max(messages[batch].max(), 1) + responses[batch].max() + 1
            assert len(batch) * width <= rule["max_tokens"]


@given(samplers(), st.integers(0, 40), st.integers(1, 40))
def test_resuming_equals_going_on(make: Make, before: int, after: int) -> None:
    uninterrupted = make()
    take(uninterrupted, before)
    state = json.loads(json.dumps(uninterrupted.state_dict()))
    resumed = make()
    take(resumed, 1)
    resumed.load_state_dict(state)
    assert take(resumed, after) == take(uninterrupted, after)
    assert resumed.state_dict() == uninterrupted.state_dict()


def make_default(**changes: object) -> BucketSampler:
    lengths = np.random.default_rng(1).integers(1, 20, size=(2, 500))
    return BucketSampler(lengths[0], lengths[1], **{"batch_size": 16, "seed": 3, **changes})


def test_same_seed_same_batches_other_seed_or_epoch_others() -> None:
    np.random.seed(0)
    first = take(make_default(), 64)
    np.random.seed(1)
    assert take(make_default(), 64) == first
    assert take(make_default(seed=4), 64) != first
    assert first[:32] != first[32:]
    assert {tuple(sorted(b)) for b in first[:32]} != {tuple(sorted(b)) for b in first[32:]}


def test_unshuffled_epochs_are_equal_and_rise_in_length() -> None:
    sampler = make_default(shuffle=False)
    batches = take(sampler, 64)
    assert batches[:32] == batches[32:]
    assert batches[:32] == [b.tolist() for b in make_default(seed=9).one_epoch()]


def test_buckets_save_padding() -> None:
    lengths = np.random.default_rng(1).integers(1, 40, size=(2, 20_000))
    sampler = BucketSampler(lengths[0], lengths[1], batch_size=32, seed=0)
    padded = used = 0
    for batch in (next(sampler) for _ in range(sampler.batches_per_epoch)):
        padded += len(batch) * int(lengths[0][batch].max() + lengths[1][batch].max())
        used += int(lengths[0][batch].sum() + lengths[1][batch].sum())
    assert used / padded > 0.85  # about 0.5 without buckets


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": None}, "exactly one of batch_size and max_tokens"),
        ({"max_tokens": 100}, "exactly one of batch_size and max_tokens"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": None, "max_tokens": 5}, "max_tokens must be at least .*got 5"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"rank": 2, "world_size": 2}, "rank must be 0 to world_size-1=1, got 2"),
        ({"world_size": 501}, "world_size must be at most the number of pairs 500, got 501"),
    ],
)
def test_bad_arguments_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_default(**changes)


def test_no_pairs_and_uneven_lengths_are_refused() -> None:
    none, one = np.zeros(0, int), np.zeros(1, int)
    with pytest.raises(ValueError, match="at least one pair, got 0"):
        BucketSampler(none, none, batch_size=1, seed=0)
    with pytest.raises(ValueError, match="of one shape"):
        BucketSampler(none, one, batch_size=1, seed=0)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"epoch": 0},
        {"epoch": -1, "position": 0},
        {"epoch": 0, "position": 33},
        {"epoch": 0.0, "position": 0},
    ],
)
def test_bad_states_are_refused_and_change_nothing(state: dict[str, int]) -> None:
    sampler = make_default()
    take(sampler, 3)
    with pytest.raises(ValueError, match="state"):
        sampler.load_state_dict(state)
    assert sampler.state_dict() == {"epoch": 0, "position": 3}


class Squares:
    """Five pairs whose ids tell their number."""

    def __len__(self) -> int:
        return 5

    def message(self, i: int) -> NDArray[np.int32]:
        return np.full(i + 1, 10 + i, dtype=np.int32)

    def response(self, i: int) -> NDArray[np.int32]:
        return np.full(2, 20 + i, dtype=np.int32)


@pytest.mark.parametrize("batch_size", [2, 100])
def test_loader_fills_batches_and_resumes(batch_size: int) -> None:
    def make() -> Loader:
        lengths = np.arange(1, 6), np.full(5, 2)
        return Loader(Squares(), BucketSampler(*lengths, batch_size=batch_size, seed=0))

    loader = make()
    assert loader.batches_per_epoch == -(-5 // batch_size)
    for _ in range(7):
        batch = next(loader)
        numbers = batch.index.tolist()
        assert batch.messages[:, 0].tolist() == [10 + i for i in numbers]
        assert batch.responses[:, 0].tolist() == [20 + i for i in numbers]
        assert batch.message_lengths.tolist() == [i + 1 for i in numbers]
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    assert next(resumed).index.tolist() == next(iter(loader)).index.tolist()
    assert sorted(i for b in loader.one_epoch() for i in b.index.tolist()) == [0, 1, 2, 3, 4]
