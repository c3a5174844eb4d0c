"""Checkpoints: what goes in comes out, and nothing else is ever taken for one."""

import builtins
import errno
import json
import os
import shutil
import stat
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import training_toy as toy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dvs2s.errors import CheckpointError
from dvs2s.training import checkpoint, files, tensors
from dvs2s.training.manifest import verify_members
from dvs2s.training.resume import Saver, restore
from dvs2s.training.schedule import adadelta, adamw

FILES = [
    "config.json",
    "manifest.json",
    "model.safetensors",
    "objective.safetensors",
    "optimizer.safetensors",
    "state.json",
    "vocabulary.json",
]


def trained(optimizer="adadelta"):
    """An objective and an optimiser that have seen two updates."""
    objective, optimizer_, _ = toy.build(optimizer)
    source = toy.ToyBatches()
    for _ in range(2):
        objective(next(source)).total.backward()
        optimizer_.step()
    return objective, optimizer_


def save(run_dir, update=1, *, is_best=False, keep=1, state=None, objects=None):
    objective, optimizer = objects or trained()
    config = {"hidden": 6, "name": "tüv", "rates": [0.1, 1e-300], "none": None}
    saver = Saver(run_dir, objective, optimizer, config, b'{"words": []}\n', keep)
    return saver(update, state or {"step": update}, is_best=is_best)


def read_all(folder):
    objective, optimizer, _ = toy.build()
    restore(folder, objective, optimizer)
    checkpoint.read_config(folder)
    checkpoint.read_vocabulary(folder)


@pytest.mark.parametrize("name", ["adadelta", "adamw"])
def test_round_trip_is_exact(tmp_path, name):
    objects = trained(name)
    folder = save(tmp_path, 3, objects=objects, state={"sum": 0.1 + 0.2, "list": [1, None]})
    objective, optimizer, _ = toy.build(name)
    state = restore(folder, objective, optimizer)
    assert state == {"sum": 0.1 + 0.2, "list": [1, None]}
    assert sorted(path.name for path in folder.iterdir()) == FILES
    expected, actual = objects[0].state_dict(), objective.state_dict()
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[key], expected[key]) for key in expected)
    expected, actual = objects[1].state_dict(), optimizer.state_dict()
    assert actual["param_groups"] == expected["param_groups"]
    assert actual["state"].keys() == expected["state"].keys() and actual["state"]
    for index, entries in expected["state"].items():
        assert actual["state"][index].keys() == entries.keys()
        assert all(torch.equal(actual["state"][index][key], entries[key]) for key in entries)
    assert checkpoint.read_vocabulary(folder) == b'{"words": []}\n'
    assert checkpoint.read_config(folder)["name"] == "tüv"


def test_serving_reads_the_model_alone(tmp_path):
    folder = save(tmp_path)
    model = toy.ToyModel()
    model.load_state_dict(checkpoint.load_tensors(folder))
    assert not any(name.startswith("model.") for name in checkpoint.load_tensors(folder))
    for name in ("objective.safetensors", "optimizer.safetensors"):
        (folder / name).unlink()
    model.load_state_dict(checkpoint.load_tensors(folder))


def test_objective_without_a_model_prefix_goes_into_one_file(tmp_path):
    objective = nn.Linear(2, 2)
    folder = save(tmp_path, objects=(objective, adadelta(objective.parameters())))
    assert not (folder / "objective.safetensors").exists()
    assert checkpoint.load_tensors(folder, "objective").keys() == {"weight", "bias"}


def test_ties_and_views_survive():
    base = torch.arange(12.0).reshape(3, 4)
    given = OrderedDict(
        a=base, tied=base, row=base[1], turned=base.t(), none=torch.zeros(0), no=torch.zeros(0, 2)
    )
    data = tensors.encode(given)
    actual = tensors.decode(data, Path("x"))
    assert actual.keys() == given.keys()
    assert all(torch.equal(actual[name], given[name]) for name in given)
    assert actual["a"] is actual["tied"]
    assert data == tensors.encode(given)
    assert data.count(base.numpy().tobytes()) == 1


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("sound")
    return save(run_dir, is_best=True)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_refused(sound, data):
    """R4."""
    path = sound / data.draw(st.sampled_from(FILES))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) * 8 - 1))
    damaged = bytearray(whole)
    damaged[place // 8] ^= 1 << place % 8
    path.write_bytes(bytes(damaged))
    try:
        with pytest.raises(CheckpointError):
            read_all(sound)
            verify_members(sound)
    finally:
        path.write_bytes(whole)
    read_all(sound)


@pytest.mark.parametrize("name", FILES)
def test_truncated_or_missing_file_is_named(tmp_path, name):
    """R4."""
    folder = save(tmp_path)
    path = folder / name
    whole = path.read_bytes()
    for damaged, reason in [(whole[:-1], "damaged"), (b"", "damaged"), (None, "cannot be read")]:
        path.unlink() if damaged is None else path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=rf"{name} (is|has|cannot).*") as caught:
            read_all(folder)
        assert reason in str(caught.value)


def test_damage_without_verifying_is_still_a_checkpoint_error(tmp_path):
    folder = save(tmp_path)
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    (folder / "state.json").write_bytes(b"[1]")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        checkpoint.load_tensors(folder, verify=False)
    with pytest.raises(CheckpointError, match="list instead of an object"):
        checkpoint.read_state(folder, verify=False)


def test_nothing_executable_is_in_a_checkpoint(tmp_path):
    """R20: JSON and safetensors by content, not by name only."""
    for path in save(tmp_path).iterdir():
        data = path.read_bytes()
        header = data[8 : 8 + int.from_bytes(data[:8], "little")]
        assert isinstance(json.loads(data if path.suffix == ".json" else header), dict)


def other_names():
    objective = nn.Sequential(OrderedDict(model=nn.Linear(toy.WIDTH, toy.WIDTH)))
    return objective, adadelta(objective.parameters())


def other_shapes():
    objective, _, _ = toy.build()
    objective.model.first.weight = nn.Parameter(torch.zeros(toy.WIDTH, 9))
    objective.model.second.weight = objective.model.first.weight
    return objective, adadelta(objective.parameters())


@pytest.mark.parametrize("other", [other_names, other_shapes])
def test_another_model_is_refused(tmp_path, other):
    folder = save(tmp_path)
    objective, optimizer = other()
    with pytest.raises(CheckpointError, match="another model"):
        restore(folder, objective, optimizer)
    with pytest.raises(CheckpointError, match="another model"):
        checkpoint.load_optimizer(folder, optimizer, objective.named_parameters())
    assert not optimizer.state


def test_another_optimizer_is_refused(tmp_path):
    folder = save(tmp_path)
    objective, _, _ = toy.build()
    with pytest.raises(CheckpointError, match="holds the state of Adadelta, the run uses AdamW"):
        restore(folder, objective, adamw(objective.parameters()))


def test_optimizer_state_goes_by_name_not_by_position(tmp_path):
    objective, optimizer = trained()
    folder = save(tmp_path, objects=(objective, optimizer))
    other, _, _ = toy.build()
    turned = adadelta(list(other.parameters())[::-1])
    checkpoint.load_optimizer(folder, turned, other.named_parameters())
    expected = optimizer.state[objective.model.first.bias]["square_avg"]
    actual = turned.state[other.model.first.bias]["square_avg"]
    assert torch.equal(actual, expected) and float(expected.sum()) > 0


def names(root):
    return sorted(path.name for path in root.iterdir())


def test_retention_keeps_last_best_and_the_newest(tmp_path):
    root = tmp_path / "checkpoints"
    objects = trained()
    for update in range(1, 7):
        save(tmp_path, update, is_best=update == 2, keep=2, objects=objects)
    best, older, last = (f"update-0000000{update}" for update in (2, 5, 6))
    assert names(root) == ["best.json", "last.json", best, older, last]
    assert checkpoint.resolve(tmp_path) == root / best
    assert checkpoint.resolve(root, "last") == root / last
    assert checkpoint.resolve(root / older) == root / older
    again = save(tmp_path, 6, objects=objects)
    assert again.name == "update-00000006-2"
    assert names(root) == ["best.json", "last.json", best, again.name]
    assert json.loads((root / "last.json").read_text()) == {"folder": again.name}


def test_resolve_says_what_it_found(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        checkpoint.resolve(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="the folder is empty"):
        checkpoint.resolve(tmp_path)
    save(tmp_path, 1)
    with pytest.raises(CheckpointError, match=r"no best .*found last\.json, update-00000001"):
        checkpoint.resolve(tmp_path)
    pointer = tmp_path / "checkpoints" / "last.json"
    pointer.write_text('{"folder": "../../elsewhere"}')
    with pytest.raises(CheckpointError, match=r"last\.json is damaged"):
        checkpoint.resolve(tmp_path, "last")


def test_mode_follows_the_umask(tmp_path):
    former = os.umask(0o027)
    try:
        folder = save(tmp_path)
    finally:
        os.umask(former)
    for path in [*folder.iterdir(), tmp_path / "checkpoints" / "last.json"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def test_disk_full_at_any_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    """R3."""
    objects = trained()
    old = save(tmp_path, 1, is_best=True, objects=objects)
    before = toy_files(old)
    original = builtins.open
    writes = 0
    limit = 0

    def full(path, mode="r", *rest, **options):
        nonlocal writes
        if "x" in mode:
            writes += 1
            if writes > limit:
                original(path, mode, *rest, **options).close()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return original(path, mode, *rest, **options)

    # Seven files, then the two pointers.
    for limit in range(9):
        writes = 0
        monkeypatch.setattr(builtins, "open", full)
        with pytest.raises(CheckpointError, match="disk full while saving"):
            save(tmp_path, 2 + limit, is_best=True, objects=objects)
        monkeypatch.undo()
        assert toy_files(old) == before
        assert not list((tmp_path / "checkpoints").glob(".tmp-*"))
        read_all(checkpoint.resolve(tmp_path, "last"))
        read_all(checkpoint.resolve(tmp_path, "best"))
    assert checkpoint.resolve(tmp_path, "best") == old
    assert checkpoint.prepare_run(tmp_path) == checkpoint.resolve(tmp_path, "best")
    save(tmp_path, 99, objects=objects)
    assert checkpoint.resolve(tmp_path, "last").name == "update-00000099"


def toy_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_prepare_sweeps_left_overs_and_takes_up_a_finished_checkpoint(tmp_path):
    assert checkpoint.prepare_run(tmp_path) is None
    root = tmp_path / "checkpoints"
    save(tmp_path, 1, is_best=True)
    pointers = {name: (root / name).read_bytes() for name in ("last.json", "best.json")}
    newer = save(tmp_path, 2, is_best=True, keep=2)
    for name, data in pointers.items():
        (root / name).write_bytes(data)
    (root / ".tmp-update-00000003-17").mkdir()
    (root / ".tmp-update-00000003-17" / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".tmp-metrics.jsonl-17").write_bytes(b"half")
    assert checkpoint.prepare_run(tmp_path) == newer
    assert checkpoint.resolve(tmp_path, "best") == newer
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(files.TEMPORARY)]


def test_prepare_retires_what_a_killed_process_could_not(tmp_path):
    root = tmp_path / "checkpoints"
    older = save(tmp_path, 1)
    shutil.copytree(older, tmp_path / "copy")
    newer = save(tmp_path, 2)
    shutil.move(tmp_path / "copy", older)
    assert names(root) == ["last.json", older.name, newer.name]
    assert checkpoint.prepare_run(tmp_path) == newer
    assert names(root) == ["last.json", newer.name]


def test_wrong_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="state must hold plain JSON types"):
        save(tmp_path, state={"pair": (1, 2)})
    with pytest.raises(ValueError, match="state must hold plain JSON types"):
        save(tmp_path, state={"loss": float("nan")})
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        save(tmp_path, keep=0)
    objective, optimizer = trained()
    with pytest.raises(ValueError, match="named_parameters lacks"):
        checkpoint.load_optimizer(save(tmp_path), optimizer, [])
    assert not [path for path in tmp_path.rglob(".tmp-*")]
