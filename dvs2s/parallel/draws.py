"""Random numbers of a worker's rows that are those of the whole batch.

With all workers' generators in one state, each draws for the whole batch and keeps its own rows:
dropout and sampled vocabularies of a pair are then the same whoever computes it. That costs a
worker the random numbers of the others' rows and no exchange. Models and objectives stay as they
are: inside of ``GroupDraws`` torch's drawing functions mean the whole batch.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_SIZED = (torch.rand, torch.randn)
_LIKE = {torch.rand_like: torch.rand, torch.randn_like: torch.randn}
_IN_PLACE = (
    Tensor.bernoulli_,
    Tensor.uniform_,
    Tensor.normal_,
    Tensor.exponential_,
    Tensor.random_,
    Tensor.geometric_,
)
_DROPOUTS = (F.dropout, torch.dropout)
# Draw in an order that depends on what they are given: no rule says which rows are whose.
_REFUSED = (
    torch.bernoulli,
    torch.normal,
    torch.poisson,
    torch.randint,
    torch.randint_like,
    torch.randperm,
    F.gumbel_softmax,
    F.alpha_dropout,
    F.feature_alpha_dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.rrelu,
    Tensor.bernoulli,
    Tensor.cauchy_,
    Tensor.log_normal_,
    Tensor.multinomial,
)


class GroupDraws(TorchFunctionMode):
    """While the ``with`` block lasts, what is drawn for a worker's rows is cut out of the batch's.

    Every draw must have the rows of the batch as its first dimension. The widths of the rows, such
    as the padded length, must be those of the whole batch.

    Args:
        rows: of the batch, those that this worker computes.
        of: number of rows of the whole batch.

    Raises:
        ValueError: in the block, of a draw whose rows cannot be told.
    """

    def __init__(self, rows: slice, of: int) -> None:
        super().__init__()
        self._rows, self._of = rows, of
        self._own = len(range(of)[rows])

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answers a call of torch made inside of the block."""
        kwargs = kwargs or {}
        if func in _SIZED:
            return self._sized(func, args, kwargs)
        if func in _LIKE:
            shape = self._whole(func, args[0].shape)
            given = {"dtype": args[0].dtype, "device": args[0].device, **kwargs}
            return _LIKE[func](shape, **given)[self._rows]
        if func in _DROPOUTS:
            return self._dropout(*args, **kwargs)
        if func in _IN_PLACE:
            whole = args[0].new_empty(self._whole(func, args[0].shape))
            return args[0].copy_(func(whole, *args[1:], **kwargs)[self._rows])
        if func is torch.multinomial:
            return self._multinomial(*args, **kwargs)
        if func in _REFUSED:
            raise ValueError(
                f"{func.__name__} draws numbers that cannot be shared among workers: use one of "
                f"torch.rand, torch.randn, dropout, with the batch's rows first"
            )
        return func(*args, **kwargs)

    def _sized(self, func: Callable[..., Tensor], args: Any, kwargs: dict[str, Any]) -> Tensor:
        size = kwargs.pop("size", None) or (args[0] if not isinstance(args[0], int) else args)
        return func(self._whole(func, tuple(size)), **kwargs)[self._rows]

    def _dropout(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0:
            return input
        ones = input.new_ones(self._whole(F.dropout, input.shape))
        mask = torch.dropout(ones, p, True)[self._rows]
        return input.mul_(mask) if inplace else input * mask

    def _multinomial(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        whole = self._whole(torch.multinomial, input.shape)
        if input.dim() != 2 or (len(input) > 1 and input.stride(0) != 0):
            raise ValueError(
                "multinomial draws for rows that differ, which this worker does not know of the "
                "others: pass one row, expanded to the batch"
            )
        return torch.multinomial(input[:1].expand(whole), *args, **kwargs)[self._rows]

    def _whole(self, func: Any, shape: Any) -> tuple[int, ...]:
        if not shape or shape[0] != self._own:
            raise ValueError(
                f"{func.__name__} draws {tuple(shape)} numbers among workers, and the first "
                f"dimension must be the worker's {self._own} rows: put the rows first"
            )
        return (self._of, *shape[1:])
