"""The compiled kernels of dvs2s. ``dvs2s.ops`` loads them; there is nothing to call here."""

from pathlib import Path

__version__ = "0.1.0"
INTERFACE = 1
"""What ``dvs2s.ops`` must expect: one more with every change of an operator's arguments."""


def libraries() -> list[Path]:
    """Returns the libraries for ``torch.ops.load_library``: the CPU's, then CUDA's if built.

    Raises:
        FileNotFoundError: the package is there and its CPU library is not.
    """
    found = [sorted(Path(__file__).parent.glob(f"{name}*.so")) for name in ("_ops", "_cuda")]
    if not found[0]:
        raise FileNotFoundError("dvs2s_ext has no _ops library: build it again")
    return [matches[0] for matches in found if matches]
