"""Where a sweep's jobs go: a folder that the same command finds again."""

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from dvs2s.errors import CheckpointError, ConfigError
from dvs2s.training.files import replace_file, to_json

FILE = "sweep.json"
ROOT = "multirun"

# Options that say where and how jobs run, not what they compute.
_FREE = ("hydra.", "hydra/", "trainer.progress", "trainer.threads", "trainer.device")


@dataclass(frozen=True)
class Plan:
    """A sweep as its command line says it.

    Args:
        preset: the choice of ``sweep=``, "" without.
        swept: options with several values, sorted.
        fixed: options with one value, ``option=value``, sorted.
    """

    preset: str
    swept: tuple[str, ...]
    fixed: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The sweep's folder unless the command names one: by preset or swept options."""
        digest = hashlib.sha256("\n".join(self.fixed).encode()).hexdigest()[:6]
        name = "+".join(filter(None, (self.preset, *self.swept))).replace("/", "_") or "sweep"
        return Path(ROOT) / f"{name[:120]}-{digest}"


def is_sweep(arguments: list[str]) -> bool:
    """Returns whether a command line asks for a sweep, and not only to be shown one."""
    asks = {"-m", "--multirun"} & set(arguments)
    shows = {"--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help", "--shell-completion"}
    return bool(asks) and not shows & set(arguments)


def overrides_in(arguments: list[str]) -> list[Override]:
    """Returns the overrides of a command line, flags left out."""
    given = [a for a in arguments if not a.startswith("-") and "=" in a or a.startswith("~")]
    return OverridesParser.create().parse_overrides(given)


def plan_of(arguments: list[str]) -> Plan:
    """Returns what a command line sweeps over.

    Raises:
        ConfigError: it sweeps over ``sweep`` itself.
    """
    last = {o.get_key_element().lstrip("+"): o for o in overrides_in(arguments)}
    preset, swept, fixed = "", [], []
    for key, override in sorted(last.items()):
        if key.startswith(_FREE):
            continue
        if override.is_sweep_override():
            if key == "sweep":
                raise ConfigError(f"give one sweep at a time, got {override.input_line}")
            swept.append(key)
        elif key == "sweep":
            preset = str(override.value())
        else:
            fixed.append(override.input_line or key)
    return Plan(preset, tuple(swept), tuple(fixed))


def open_sweep(folder: Path, plan: Plan) -> None:
    """Notes in ``folder`` what is swept there and that a new command has begun.

    Raises:
        ConfigError: the folder holds a sweep with other fixed options.
        CheckpointError: its note is damaged.
    """
    old = _read(folder)
    fixed = {"preset": plan.preset, "fixed": list(plan.fixed)}
    if old is not None:
        before = {name: old.get(name) for name in fixed}
        if before != fixed:
            raise ConfigError(
                f"{folder} holds another sweep: {_difference(before, fixed)}; give "
                f"hydra.sweep.dir=FOLDER, or the old options"
            )
    command = f"{time.time_ns():x}-{os.getpid()}"
    note = {**fixed, "command": command, "owner": os.getpid()}
    replace_file(folder / FILE, to_json(note, "sweep"))


def command_of(folder: Path) -> str:
    """Returns the name of the command that last began in a sweep's folder; "" for none."""
    return str((_read(folder) or {}).get("command", ""))


def owner(folder: Path) -> int | None:
    """Returns the process that launches the jobs of a sweep's folder."""
    found = (_read(folder) or {}).get("owner")
    return found if isinstance(found, int) else None


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / FILE
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): move it away") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is no note of a sweep: move it away")
    return value


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    old = {before["preset"] and f"sweep={before['preset']}", *(before["fixed"] or [])}
    new = {now["preset"] and f"sweep={now['preset']}", *now["fixed"]}
    gone, come = sorted(old - new - {""}), sorted(new - old - {""})
    parts = [f"it had {' '.join(gone)}"] if gone else []
    parts += [f"this command has {' '.join(come)}"] if come else []
    return " and ".join(parts)
