"""kill -9 at random moments of a training, restarted each time: is the result the same to the bit?

python benchmarks/kill_resume.py --kills 30 --out benchmarks/results/kill_resume.json

Trains a small model on a synthetic corpus by the command line, once undisturbed and once killed
again and again, and compares weights, optimiser, curve and the loop's state byte by byte. After
each kill every checkpoint that a pointer names is read and its checksums are compared.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dvs2s.data.synthetic import make_task, write_tsv
from dvs2s.errors import CheckpointError
from dvs2s.training.checkpoint import resolve
from dvs2s.training.manifest import verify_members

OPTIONS = (
    "data=tsv",
    "data.drop_train_duplicates=false",
    "model.embedding_size=24",
    "model.hidden_size=32",
    "model.bag_size=24",
    "model.predictor_size=24",
    "model.dropout=0.1",
    "objective.budget=34",
    "optim.warmup=5",
    "search.size=40",
    "search.kind=greedy",
    "trainer.batch_size=16",
    "trainer.validate_every=7",
    "trainer.save_every=3",
    "trainer.log_every=1",
    "trainer.threads=1",
    "trainer.progress=none",
)


def command(folder: Path, run: str, updates: int) -> list[str]:
    """Returns the command line of a training."""
    places = (f"data.root={folder}/corpus", f"data.prepared={folder}/{run}-prepared")
    return [
        *(sys.executable, "-m", "dvs2s.cli.train", *OPTIONS, *places),
        *(f"trainer.run={folder}/{run}", f"trainer.max_updates={updates}"),
    ]


def contents(run: Path) -> dict[str, str]:
    """Returns a digest of everything that a run computes, by name."""
    last = resolve(run, "last")
    names = ("model", "objective", "optimizer")
    found = {name: (last / f"{name}.safetensors").read_bytes() for name in names}
    found["curve"] = (run / "metrics.jsonl").read_bytes()
    record = json.loads((last / "state.json").read_bytes())
    del record["state"]["loop"]["seconds"]
    # a validation of its own after a stop saves the same update twice
    record["best"] = (record["best"] or "").removesuffix("-2")
    found["state"] = json.dumps(record, sort_keys=True).encode()
    return {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}


def check_loadable(run: Path) -> int | None:
    """Reads what the pointers name; returns the last update, None before the first checkpoint.

    Raises:
        CheckpointError: one is damaged.
    """
    update = None
    for which in ("best", "last"):
        if (run / "checkpoints" / f"{which}.json").exists():
            folder = resolve(run, which)  # type: ignore[arg-type]
            verify_members(folder)
            update = int(folder.name.split("-")[1])
    return update


def killed(arguments: list[str], log: Path, *, after: float, begun: bool) -> bool:
    """Starts a training and kills it after so many seconds; returns whether it still ran.

    Args:
        arguments: the command line.
        log: gets what it prints.
        after: seconds from its start or, with ``begun``, from the sentence before its updates.
        begun: which.
    """
    with open(log, "wb") as errors:
        process = subprocess.Popen(arguments, stdout=errors, stderr=errors, env=environment())
    while begun and process.poll() is None and b"million parameters" not in log.read_bytes():
        time.sleep(0.01)
    try:
        process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    if process.returncode != 0:
        raise SystemExit(f"the training ended with {process.returncode}:\n{log.read_text()}")
    return False


def environment() -> dict[str, str]:
    """Returns this environment with one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def measure(folder: Path, *, kills: int, updates: int, seed: int) -> dict[str, Any]:
    """Returns what was done and whether the results are equal."""
    (folder / "corpus").mkdir()
    for place, (split, pairs) in enumerate({"train": 250, "valid": 24, "test": 24}.items()):
        task = make_task(pairs, num_topics=4, words_per_topic=3, seed=place)
        write_tsv(folder / "corpus" / f"{split}.tsv", task.pairs)
    start = time.monotonic()
    killed(command(folder, "whole", updates), folder / "log", after=3600, begun=True)
    end = time.monotonic()
    first = (folder / "whole" / "tensorboard").stat().st_ctime - time.time() + end
    spans = (end - start, end - first)  # of a life, and of its updates
    rng, moments, reached, starts = random.Random(seed), [], [], 0
    damaged = 0
    again = command(folder, "killed", updates)
    while len(moments) < kills:
        begun = len(moments) % 2 == 1
        starts += 1
        after = rng.uniform(0.0, spans[begun])
        if not killed(again, folder / "log", after=after, begun=begun):
            # it came to its end first: go on with a new run, so that every kill hits a live one
            if compare(folder):
                raise SystemExit(f"a run that was killed differs in {compare(folder)}")
            (folder / "killed").rename(folder / f"done-{starts}")
            continue
        moments.append(round(after, 3))
        try:
            reached.append(check_loadable(folder / "killed"))
        except CheckpointError as error:
            damaged += 1
            print(f"damaged: {error}", file=sys.stderr)
        print(f"kill {len(moments)} after {after:.2f} s: update {reached[-1]}", file=sys.stderr)
    subprocess.run(again, check=True, env=environment())
    return {
        "updates": updates,
        "kills": len(moments),
        "seconds_undisturbed": round(spans[0], 2),
        "seconds_of_updates": round(spans[1], 2),
        "kills_after_seconds": moments,
        "last_saved_update_after_each_kill": reached,
        "runs_completed": 1 + starts - len(moments),
        "damaged_checkpoints": damaged,
        "differing": compare(folder),
        "digests": contents(folder / "whole"),
    }


def compare(folder: Path) -> list[str]:
    """Returns what differs between the killed run and the undisturbed one."""
    expected, actual = contents(folder / "whole"), contents(folder / "killed")
    return sorted(name for name in expected if expected[name] != actual[name])


def main() -> int:
    """Prints the result as JSON; exit code 1 when anything differs or was damaged."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), kills=given.kills, updates=given.updates, seed=given.seed)
    text = json.dumps(found, indent=1) + "\n"
    if given.out:
        given.out.write_text(text)
    print(text, end="")
    return 1 if found["differing"] or found["damaged_checkpoints"] else 0


if __name__ == "__main__":
    sys.exit(main())
