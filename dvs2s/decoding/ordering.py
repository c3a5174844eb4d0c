"""The greatest values of each row in an order that does not depend on the machine."""

import torch
from torch import Tensor


def top_indices(values: Tensor, count: int) -> Tensor:
    """The places of the greatest values of each row; of equal ones those with lower places.

    `topk` alone may pick any of the equal values, so the rows in which the last place is contested
    are sorted in full. Rows with fewer finite values than asked for are filled with places of
    -inf, in any choice.

    Args:
        values: (N, K) floating.
        count: how many, at least 1; K are given when it is greater.

    Returns:
        (N, min(count, K)) int64, rising within a row. A row that holds NaN gives a NaN's place.
    """
    num_places = values.size(-1)
    if count >= num_places:
        places = torch.arange(num_places, device=values.device)
        return places.expand(values.size(0), -1)
    top = values.topk(count + 1, dim=-1)
    last, next_one = top.values[:, count - 1], top.values[:, count]
    indices = top.indices[:, :count]
    contested = ((last == next_one) & (last > -torch.inf)).nonzero().squeeze(-1)
    if contested.numel():
        exact = values[contested].sort(dim=-1, descending=True, stable=True).indices
        indices = indices.clone()
        indices[contested] = exact[:, :count]
    return indices.sort(dim=-1).values
