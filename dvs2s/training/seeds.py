"""One seed out of several numbers."""

_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """Returns a seed in [0, 2**63) that depends on every number and on their order.

    Neighbouring inputs (seed 1 update 2, seed 2 update 1) give unrelated seeds, which sums
    and products of them would not.

    Args:
        numbers: integers of any size and sign, at least one.

    Raises:
        ValueError: no number at all.

    Source:
        Steele, Lea and Flood (2014), Fast Splittable Pseudorandom Number Generators, the
        finaliser of SplitMix64.
    """
    if not numbers:
        raise ValueError("numbers must hold at least one integer, got none")
    state = 0
    for number in numbers:
        state = ((state ^ (number & _MASK)) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1
