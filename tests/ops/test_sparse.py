"""The sparse operators against float64 loops, whichever kernels are loaded."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_cases import Case, random_case
from torch import Tensor

from dvs2s import ops
from dvs2s.ops import extension

COMPILED = bool(extension.load().path)
ROUTES = ["gather", "union", "dense"]


def plain(case: Case) -> list[Tensor]:
    """The log-probabilities (R, k) of each example: one softmax each, in float64."""
    values = []
    for hidden, ids, length in zip(case.hidden, case.ids, case.lengths, strict=True):
        mine = ids[: int(length)]
        logits = hidden.double() @ case.weight.double()[mine].T + case.bias.double()[mine]
        values.append(logits.log_softmax(-1))
    return values


shapes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 5),
        "rows": st.one_of(st.integers(1, 9), st.sampled_from([64, 65, 130])),
        "width": st.sampled_from([1, 3, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 129]),
        "words": st.sampled_from([1, 2, 3, 5, 17, 64, 65, 130, 600]),
        "seed": st.integers(0, 10**6),
    }
)


@settings(max_examples=60, deadline=None)
@given(shape=shapes, dtype=st.sampled_from([torch.float32, torch.float64]))
def test_log_softmax_equals_one_softmax_an_example(
    shape: dict[str, int], dtype: torch.dtype
) -> None:
    case = random_case(**shape, dtype=dtype)
    first = None
    for route in ROUTES:
        actual = ops.sparse_log_softmax(*case.operands(), route=route)
        first = actual if first is None else first
        assert torch.equal(actual, first)  # a route changes nothing, to the last bit
    assert first is not None and first.dtype == dtype
    for example, expected in enumerate(plain(case)):
        width = expected.shape[1]
        torch.testing.assert_close(
            first[example, :, :width].double(), expected, rtol=1e-5, atol=2e-5
        )
        assert (first[example, :, width:] == -torch.inf).all()


@settings(max_examples=60, deadline=None)
@given(shape=shapes, k=st.integers(1, 40), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_topk_is_a_stable_sort_of_the_log_softmax(
    shape: dict[str, int], k: int, dtype: torch.dtype
) -> None:
    case = random_case(**shape, dtype=dtype)
    k = min(k, case.ids.shape[1])
    expected = ops.sparse_log_softmax(*case.operands())
    ranked = expected.sort(dim=-1, descending=True, stable=True)
    for route in ROUTES:
        scores, slots = ops.sparse_topk(*case.operands(), k, route=route)
        torch.testing.assert_close(scores, ranked.values[..., :k], rtol=0, atol=1e-6)
        rows = expected.gather(-1, slots)
        assert torch.equal(rows, ranked.values[..., :k])  # the slots are those of the scores
        assert all(len(set(row)) == k for row in slots.flatten(0, 1).tolist())


def test_ties_go_to_the_lower_slot() -> None:
    hidden, weight = torch.ones(1, 1, 2), torch.zeros(70, 2)
    bias = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0] + [0.0] * 65)
    ids = torch.arange(70)[None]
    _, slots = ops.sparse_topk(hidden, weight, bias, ids, torch.tensor([70]), 5)
    assert slots[0, 0].tolist() == [1, 2, 4, 0, 3]
    scores, slots = ops.sparse_topk(hidden, weight, bias, ids, torch.tensor([2]), 4)
    assert slots[0, 0].tolist() == [1, 0, 2, 3]  # masked slots fill up
    assert scores[0, 0, 2:].tolist() == [-torch.inf, -torch.inf]


@settings(max_examples=60, deadline=None)
@given(
    words=st.integers(1, 400), k=st.integers(1, 90), values=st.integers(1, 1000), seed=st.integers()
)
def test_the_best_of_few_and_of_many_values(words: int, k: int, values: int, seed: int) -> None:
    """Few values: more words share one than can be put in order by counting. -inf among them."""
    k = min(k, words)
    generator = torch.Generator().manual_seed(seed % 2**32)
    bias = torch.randint(-values, values, (words,), generator=generator).float()
    bias[bias % 7 == 3] = -torch.inf
    bias[0] = 0.0  # a sum there is
    ids = torch.arange(words)[None]
    _, slots = ops.sparse_topk(
        torch.ones(1, 1, 2), torch.zeros(words, 2), bias, ids, torch.tensor([words]), k
    )
    assert slots[0, 0].tolist() == bias.sort(descending=True, stable=True).indices[:k].tolist()


@settings(max_examples=40, deadline=None)
@given(shape=shapes)
def test_an_example_does_not_notice_its_neighbours(shape: dict[str, int]) -> None:
    case = random_case(**shape, dtype=torch.float32)
    together = ops.sparse_log_softmax(*case.operands(), route="union")
    for example in range(shape["batch"]):
        one = slice(example, example + 1)
        length = int(case.lengths[example])
        for rows in (slice(0, 1), slice(None)):
            alone = ops.sparse_log_softmax(
                case.hidden[one, rows],
                case.weight,
                case.bias,
                case.ids[one, :length],
                case.lengths[one],
            )
            if COMPILED:  # to the last bit
                assert torch.equal(alone[0], together[example, rows, :length])
            torch.testing.assert_close(alone[0], together[example, rows, :length])


@settings(max_examples=40, deadline=None)
@given(shape=shapes)
def test_gradients_equal_those_of_the_plain_form(shape: dict[str, int]) -> None:
    case = random_case(**shape)
    used = ~case.weight.isnan().any(1)
    leaves = [case.hidden.clone().requires_grad_(), case.weight.requires_grad_(), case.bias.clone()]
    leaves[2].requires_grad_()
    generator = torch.Generator().manual_seed(1)
    actual = ops.sparse_log_softmax(*leaves, case.ids, case.lengths)
    inside = actual > -torch.inf
    upstream = torch.randn(actual.shape, generator=generator, dtype=torch.float64)
    got = torch.autograd.grad(actual[inside], leaves, upstream[inside])
    rows = plain(Case(*leaves, case.ids, case.lengths))
    flat = torch.cat([row.flatten() for row in rows])
    weights = torch.cat([upstream[i, :, : row.shape[1]].flatten() for i, row in enumerate(rows)])
    want = torch.autograd.grad(flat, leaves, weights)
    for actual_grad, expected_grad in zip(got, want, strict=True):
        torch.testing.assert_close(actual_grad, expected_grad, rtol=1e-8, atol=1e-9)
    assert (got[1][~used] == 0).all()  # NaN rows outside of every vocabulary get nothing


@settings(max_examples=40, deadline=None)
@given(shape=shapes, ignored=st.booleans())
def test_cross_entropy_equals_the_plain_form(shape: dict[str, int], ignored: bool) -> None:
    case = random_case(**shape)
    generator = torch.Generator().manual_seed(2)
    share = torch.rand(case.hidden.shape[:2], generator=generator)
    targets = (share * case.lengths[:, None]).long()
    if ignored:
        targets[torch.rand(targets.shape, generator=generator) < 0.3] = -1
    leaves = [t.clone().requires_grad_() for t in (case.hidden, case.weight, case.bias)]
    losses, lse = ops.sparse_cross_entropy(*leaves, case.ids, case.lengths, targets)
    expected, sums = [], []
    for example, row in enumerate(plain(Case(*leaves, case.ids, case.lengths))):
        picked = -row.gather(1, targets[example].clamp_min(0)[:, None])[:, 0]
        expected.append(picked.masked_fill(targets[example] < 0, 0))
        mine = case.ids[example, : int(case.lengths[example])]
        sums.append((leaves[0][example] @ leaves[1][mine].T + leaves[2][mine]).logsumexp(-1))
    torch.testing.assert_close(losses, torch.stack(expected))
    torch.testing.assert_close(lse, torch.stack(sums))
    first, second = torch.randn(2, *losses.shape, generator=generator, dtype=torch.float64)
    got = torch.autograd.grad((losses * first + lse * second).sum(), leaves)
    total = (torch.stack(expected) * first + torch.stack(sums) * second).sum()
    for actual_grad, expected_grad in zip(got, torch.autograd.grad(total, leaves), strict=True):
        torch.testing.assert_close(actual_grad, expected_grad, rtol=1e-8, atol=1e-9)


def test_cross_entropy_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, bias, ids, lengths = finite(5, 3, 8, 40, seed=7)
    leaves = [tensor.float().requires_grad_() for tensor in (hidden, weight, bias)]
    targets = torch.zeros(5, 3, dtype=torch.int64)

    def losses_and_gradients() -> tuple[Tensor, tuple[Tensor, ...]]:
        losses = ops.sparse_cross_entropy(*leaves, ids, lengths, targets)[0]
        return losses, torch.autograd.grad(losses.square().sum(), leaves)

    whole, of_whole = losses_and_gradients()
    monkeypatch.setattr("dvs2s.ops.library._LOGITS_AT_ONCE", 1)
    parts, of_parts = losses_and_gradients()
    assert torch.equal(whole, parts)
    torch.testing.assert_close(of_parts, of_whole)


def finite(batch: int, rows: int, width: int, words: int, seed: int) -> list[Tensor]:
    case = random_case(batch, rows, width, words, seed=seed)
    return [case.hidden.contiguous(), case.weight.nan_to_num(), case.bias, case.ids, case.lengths]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_gradcheck_one_input_at_a_time(place: int) -> None:
    tensors = finite(2, 3, 4, 7, seed=3)
    tensors[place].requires_grad_()
    targets = torch.tensor([[0, -1, 0], [0, 0, 0]])

    def finite_log_softmax(*operands: Tensor) -> Tensor:
        return ops.sparse_log_softmax(*operands).clamp_min(-1e3)

    assert torch.autograd.gradcheck(finite_log_softmax, tensors)
    assert torch.autograd.gradcheck(lambda *args: ops.sparse_cross_entropy(*args, targets), tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_registration_is_complete(dtype: torch.dtype) -> None:
    tensors = [t.to(dtype) if t.is_floating_point() else t for t in finite(2, 3, 4, 7, seed=3)]
    leaves = [t.requires_grad_() for t in tensors[:3]]
    tail = tensors[3:]
    targets = torch.tensor([[0, -1, 0], [0, 0, 0]])
    call, library = torch.library.opcheck, torch.ops.dvs2s
    call(library.sparse_logits.default, (*leaves, *tail, None, 0))
    call(library.sparse_cross_entropy.default, (*leaves, *tail, targets, 0))
    plain_tensors = [t.detach() for t in leaves]
    call(library.sparse_topk.default, (*plain_tensors, *tail, None, 1, 0))
    grad = torch.randn(2, 3, tail[0].shape[1], dtype=dtype)
    call(library.sparse_backward.default, (grad, *plain_tensors[:2], *tail))


def test_compiles_without_a_graph_break() -> None:
    tensors = finite(2, 3, 4, 7, seed=3)
    leaves = [t.requires_grad_() for t in tensors[:3]]
    targets = torch.tensor([[0, -1, 0], [0, 0, 0]])

    def loss(*operands: Tensor) -> Tensor:
        full = (*operands, *tensors[3:])
        log_probs = ops.sparse_log_softmax(*full, validate=False)
        losses, _ = ops.sparse_cross_entropy(*full, targets, validate=False)
        return log_probs[..., 0].sum() + losses.sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    actual, expected = compiled(*leaves), loss(*leaves)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(
        torch.autograd.grad(actual, leaves), torch.autograd.grad(expected, leaves)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_far_nearer_to_the_truth_than_torch(dtype: torch.dtype) -> None:
    for seed in range(4):
        case = random_case(3, 7, 65 + 32 * seed, 200, seed=seed, dtype=dtype)
        actual = ops.sparse_log_softmax(*case.operands())
        assert actual.dtype == torch.float32
        for example, truth in enumerate(plain(case)):
            mine = case.ids[example, : truth.shape[1]]
            naive = torch.nn.functional.linear(
                case.hidden[example], case.weight[mine], case.bias[mine]
            ).log_softmax(-1)
            ours = (actual[example, :, : truth.shape[1]] - truth).abs().max()
            # products of 16 bits are exact in float32: only its sums are rounded
            assert 20 * ours <= (naive.double() - truth).abs().max()


@settings(max_examples=30, deadline=None)
@given(shape=shapes, dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_int8_equals_its_integer_arithmetic(shape: dict[str, int], dtype: torch.dtype) -> None:
    case = random_case(**shape)
    rows, scales = ops.quantise_rows(case.weight.nan_to_num())
    hidden, bias = case.hidden.to(dtype), case.bias.float()
    values, sizes = ops.quantise_rows(hidden)
    for route in ROUTES:
        actual = ops.sparse_log_softmax(
            hidden, rows, bias, case.ids, case.lengths, scales=scales, route=route
        )
        for example, length in enumerate(case.lengths.tolist()):
            mine = case.ids[example, :length]
            products = values[example].double() @ rows[mine].double().T
            logits = products * sizes[example].double()[:, None] * scales[mine].double()
            expected = (logits + bias[mine].double()).log_softmax(-1)
            torch.testing.assert_close(
                actual[example, :, :length].double(), expected, rtol=1e-5, atol=2e-5
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e4, -1e4, 1e30, -1e30])
def test_extreme_logits(dtype: torch.dtype, size: float) -> None:
    case = random_case(2, 3, 5, 40, seed=4, dtype=dtype)
    bias = case.bias.clone()
    bias[case.ids[0, 0]] += size
    bias[case.ids[1, 0]] = -torch.inf
    changed = Case(case.hidden, case.weight, bias, case.ids, case.lengths)
    actual = ops.sparse_log_softmax(*changed.operands())
    for example, expected in enumerate(plain(changed)):
        width = expected.shape[1]
        torch.testing.assert_close(
            actual[example, :, :width].double(), expected, rtol=1e-5, atol=2e-3
        )


def test_words_of_minus_infinity_alone_leave_the_gradients_of_others() -> None:
    hidden, weight, bias, _, _ = finite(2, 3, 5, 9, seed=4)
    ids, lengths = torch.tensor([[0, 2, 5], [1, 2, 8]]), torch.tensor([1, 3])
    bias[0] = -torch.inf  # the only word of the first example
    leaves = [tensor.requires_grad_() for tensor in (hidden, weight, bias)]
    targets = torch.tensor([[-1, -1, -1], [0, 1, 2]])
    both = ops.sparse_cross_entropy(*leaves, ids, lengths, targets)[0].sum()
    alone = ops.sparse_cross_entropy(hidden[1:], weight, bias, ids[1:], lengths[1:], targets[1:])
    for got, want in zip(
        torch.autograd.grad(both, leaves),
        torch.autograd.grad(alone[0].sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize(("batch", "rows"), [(0, 3), (2, 0)])
def test_nothing_has_nothing_and_gradients_of_zero(batch: int, rows: int) -> None:
    weight, bias = torch.randn(9, 4, requires_grad=True), torch.randn(9, requires_grad=True)
    hidden = torch.randn(batch, rows, 4, requires_grad=True)
    ids, lengths = torch.arange(3).expand(batch, 3), torch.full((batch,), 3)
    operands = (hidden, weight, bias, ids, lengths)
    for route in ROUTES:
        assert ops.sparse_topk(*operands, 2, route=route)[1].shape == (batch, rows, 2)
        assert ops.sparse_log_softmax(*operands, route=route).shape == (batch, rows, 3)
    words = torch.zeros(batch, rows, dtype=torch.int64)
    layer = (hidden, weight, bias)
    sets = torch.zeros(batch, 2, 9)
    for losses in (
        ops.sparse_cross_entropy(*operands, words)[0][:, None],
        *(ops.monte_carlo_cross_entropy(*layer, sets == 0, words, chunk=c) for c in (0, 4)),
        *(ops.weighted_cross_entropy(*layer, sets, words, chunk=c) for c in (0, 4)),
    ):
        assert losses.shape[::2] == (batch, rows)
        assert all((g == 0).all() for g in torch.autograd.grad(losses.sum(), layer))


def test_nan_in_a_selected_row_shows() -> None:
    case = random_case(1, 2, 5, 6, seed=4, dtype=torch.float32)
    weight = case.weight.clone()
    weight[case.ids[0, 0]] = float("nan")
    log_probs = ops.sparse_log_softmax(
        case.hidden, weight, case.bias, case.ids, case.lengths, validate=False
    )
    assert log_probs[:, :, : int(case.lengths[0])].isnan().all()


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_int8_hides_no_broken_hidden_row(broken: float) -> None:
    case = random_case(2, 3, 70, 6, seed=4, dtype=torch.float32)
    rows, scales = ops.quantise_rows(case.weight.nan_to_num())
    hidden = case.hidden.contiguous()
    hidden[1, 2, 69] = broken
    operands = (hidden, rows, case.bias, case.ids, case.lengths)
    for route in ROUTES:
        log_probs = ops.sparse_log_softmax(*operands, scales=scales, route=route)
        shows = torch.stack([row[:, 0].isnan() for row in log_probs])
        assert shows.nonzero().tolist() == [[1, 2]]


def test_int8_weight_is_for_inference() -> None:
    case = random_case(2, 3, 5, 6, seed=4, dtype=torch.float32)
    rows, scales = ops.quantise_rows(case.weight.nan_to_num())
    operands = (case.hidden.requires_grad_(), rows, case.bias, case.ids, case.lengths)
    with pytest.raises(RuntimeError, match="int8 weight is for inference"):
        ops.sparse_log_softmax(*operands, scales=scales)
    with torch.no_grad():
        ops.sparse_log_softmax(*operands, scales=scales)


def test_integer_types_of_ids_do_not_matter() -> None:
    case = random_case(3, 2, 5, 30, seed=9, dtype=torch.float32)
    expected = ops.sparse_log_softmax(*case.operands())
    actual = ops.sparse_log_softmax(
        case.hidden, case.weight, case.bias, case.ids.int(), case.lengths.int()
    )
    assert torch.equal(actual, expected)


def test_one_thread_or_two_make_no_difference() -> None:
    case = random_case(4, 3, 40, 3000, seed=9, dtype=torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append([ops.sparse_log_softmax(*case.operands(), route=r) for r in ROUTES])
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


BAD: dict[str, tuple[dict[str, object], str]] = {
    "empty": ({"lengths": torch.tensor([0, 2])}, "lengths must lie in 1..3, got 0 for input 0"),
    "too long": ({"lengths": torch.tensor([2, 4])}, "lengths must lie in 1..3, got 4 for input 1"),
    "repeated": ({"ids": torch.tensor([[1, 1, 2], [0, 1, 2]])}, "unique"),
    "unsorted": ({"ids": torch.tensor([[0, 1, 2], [3, 1, 2]])}, "ascending .* input 1"),
    "negative": ({"ids": torch.tensor([[-1, 1, 2], [0, 1, 2]])}, "ids must lie in 0..8"),
    "beyond": ({"ids": torch.tensor([[0, 1, 9], [0, 1, 2]])}, "ids must lie in 0..8"),
    "float ids": ({"ids": torch.zeros(2, 3)}, "ids must be int32 or int64"),
    "width": ({"weight": torch.zeros(9, 5)}, "one width H"),
    "bias": ({"bias": torch.zeros(8)}, r"bias must be \(V,\)"),
    "batch": ({"ids": torch.zeros(3, 3).long()}, "ids must be"),
    "type": ({"weight": torch.zeros(9, 4).bfloat16()}, "weight must have hidden's type"),
    "no scales": ({"weight": torch.zeros(9, 4).to(torch.int8)}, "scales go with int8 weight"),
    "route": ({"route": "shortest"}, "route must be one of auto, gather"),
    "hidden": ({"hidden": torch.zeros(2, 1, 4).long()}, "hidden must be a float tensor"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(name: str) -> None:
    changes, message = BAD[name]
    arguments: dict[str, object] = {
        "hidden": torch.zeros(2, 1, 4),
        "weight": torch.zeros(9, 4),
        "bias": torch.zeros(9),
        "ids": torch.tensor([[0, 1, 2], [0, 1, 2]]),
        "lengths": torch.tensor([3, 3]),
    }
    ops.sparse_log_softmax(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        ops.sparse_log_softmax(**(arguments | changes))  # type: ignore[arg-type]


def test_targets_and_k_out_of_range_are_refused() -> None:
    operands = finite(2, 1, 4, 9, seed=1)
    targets = operands[4][:, None].clone()
    with pytest.raises(ValueError, match="targets must be slots below the length"):
        ops.sparse_cross_entropy(*operands, targets)
    with pytest.raises(ValueError, match=r"targets must be \(B, R\)"):
        ops.sparse_cross_entropy(*operands, targets[:, 0])
    with pytest.raises(ValueError, match="k must lie in 1.."):
        ops.sparse_topk(*operands, 0)


@pytest.mark.skipif(not COMPILED, reason="there is no compiled extension")
def test_the_compiled_kernel_refuses_words_outside_of_the_weights() -> None:
    hidden, weight, bias, ids, lengths = finite(2, 1, 4, 9, seed=1)
    for wrong in (-1, 9):
        ids[0, 0] = wrong
        with pytest.raises(RuntimeError, match="ids must lie in 0..8"):
            ops.sparse_log_softmax(hidden, weight, bias, ids, lengths, validate=False)


@pytest.mark.skipif(not COMPILED, reason="there is no compiled extension")
def test_an_extension_of_another_interface_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that was not made again would take other arguments, and fail in the middle."""
    built = importlib.import_module("dvs2s_ext").INTERFACE
    monkeypatch.setattr(extension, "_INTERFACE", built + 1)
    found = extension.load.__wrapped__()
    assert not found.path and not found.cpu
    assert f"is of interface {built}, and {built + 1} is needed" in found.why_not
    assert "make ext" in found.why_not


@pytest.mark.skipif(not COMPILED, reason="there is no compiled extension")
@pytest.mark.parametrize(
    "switch", ["DVS2S_CPU_ISA=avx2", "DVS2S_CPU_ISA=portable", "DVS2S_EXTENSION=off"]
)
def test_other_kernels_pass_the_same_tests(switch: str) -> None:
    """This very file again, in a process where other kernels are chosen."""
    name, value = switch.split("=")
    if os.environ.get("DVS2S_INNER"):
        pytest.skip("already inside")
    chosen = (
        "softmax or topk or best or ties or neighbours or precision or int8 or extreme or nan "
        "or switch"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    command += ["-k", f"({chosen}) and not other_kernels"]
    environment = os.environ | {name: value, "DVS2S_INNER": "1", "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, text=True, check=False
    )
    if "lacks it" in done.stdout:
        pytest.skip(f"this processor lacks {value}")
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_switches_are_obeyed() -> None:
    asked, off = os.environ.get("DVS2S_CPU_ISA"), os.environ.get("DVS2S_EXTENSION") == "off"
    found = extension.load()
    if off:
        assert not found.path and "DVS2S_EXTENSION=off" in extension.describe()
    elif asked and found.path:
        assert set(found.cpu.values()) == {asked}
    else:
        assert bool(found.path) == bool(found.cpu)
        assert ("compiled kernels" if found.path else "reference") in extension.describe("cpu")
