"""``python -m dvs2s.ops``: what is loaded, for which devices and instruction sets, and why not.

python -m dvs2s.ops             what serves each device, and the planner's constants
python -m dvs2s.ops measure     measure the constants on this machine, for every later start
python -m dvs2s.ops plan B R K V H [BYTES]
                                what each route is expected to take, and which is chosen
"""

import sys
from dataclasses import asdict

import torch

from dvs2s.ops import extension, planner
from dvs2s.ops.measure import measure
from dvs2s.ops.planner import Shape


def report() -> str:
    """Returns what serves each device, and the constants in use."""
    found = extension.load()
    lines = [f"torch {torch.__version__}, {torch.get_num_threads()} threads"]
    lines.append(f"library: {found.path or found.why_not}")
    for device in ("cpu", "cuda"):
        there = device == "cpu" or torch.cuda.is_available()
        missing = "" if there else " (no such device here)"
        lines.append(f"{device}: {extension.describe(device)}{missing}")
    path = planner.cache_file()
    source = str(path) if path.exists() else "defaults; `python -m dvs2s.ops measure` measures them"
    lines.append(f"planner constants: {source}")
    lines += [f"  {name} {value:g}" for name, value in asdict(planner.machine()).items()]
    return "\n".join(lines)


def plan(arguments: list[str]) -> str:
    """Returns the expected milliseconds of each route for a shape given as words."""
    try:
        numbers = [int(word) for word in arguments]
        if len(numbers) not in (5, 6) or min(numbers) < 1:
            raise ValueError
    except ValueError:
        raise SystemExit(
            f"plan wants 5 or 6 positive numbers, B R K V H [BYTES], got {' '.join(arguments)!r}"
        ) from None
    costs = planner.estimate(Shape(*numbers))
    best = min(costs, key=costs.__getitem__)
    return "\n".join(
        f"{name:7}{seconds * 1e3:10.3f} ms{'  chosen' if name == best else ''}"
        for name, seconds in costs.items()
    )


def main(arguments: list[str]) -> None:
    """Runs one of the three commands."""
    match arguments:
        case []:
            print(report())
        case ["measure"]:
            if not extension.load().path:
                raise SystemExit(f"nothing to measure: {extension.load().why_not}")
            constants = measure()
            print(f"wrote {planner.save(constants)}")
            print("\n".join(f"  {name} {value:g}" for name, value in asdict(constants).items()))
        case ["plan", *numbers]:
            print(plan(numbers))
        case ["-h" | "--help"]:
            print(__doc__)
        case _:
            raise SystemExit(f"unknown: {' '.join(arguments)!r}\n{__doc__}")


if __name__ == "__main__":
    main(sys.argv[1:])
