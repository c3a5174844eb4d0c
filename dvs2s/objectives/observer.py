"""State that follows what batches show: moved at once, or once for all batches of an update."""

import torch
from torch import Tensor, nn


class Observer(nn.Module):
    """Hears means over batches, and moves its state by them in ``move``.

    Between ``hold`` and ``release`` nothing moves: what is heard is added up. An update of several
    batches, or of several workers, then moves the state as one large batch would.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: list[Tensor] | None = None

    def move(self, mean: Tensor) -> None:
        """Moves the state by the mean (scalar) of what was observed."""
        raise NotImplementedError

    def hear(self, mean: Tensor, weight: Tensor | float) -> None:
        """Takes in the mean of a batch (scalar) and what it weighs beside other batches."""
        if self._held is None:
            self.move(mean)
            return
        weight = torch.as_tensor(weight, dtype=mean.dtype, device=mean.device)
        self._held.append(torch.stack([mean * weight, weight]).detach())

    @property
    def is_holding(self) -> bool:
        """Whether ``hold`` was called and ``release`` was not."""
        return self._held is not None

    def hold(self) -> None:
        """Moves nothing from here on."""
        self._held = []

    def held(self) -> Tensor:
        """Returns (2,) float64 on the CPU, Σ weight · mean and Σ weight heard since, and forgets.

        Raises:
            ValueError: not between ``hold`` and ``release``.
        """
        if self._held is None:
            raise ValueError("held asks for sums without hold: call hold first")
        sums = sum((entry.double().cpu() for entry in self._held), torch.zeros(2).double())
        self._held = []
        return sums

    def release(self, sums: Tensor | None) -> None:
        """Moves by the sums (2,) of all batches; by nothing where None or where nothing weighs."""
        self._held = None
        if sums is not None and float(sums[1]):
            self.move(sums[0] / sums[1])
