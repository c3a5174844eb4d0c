"""A command's way in: compose its configuration, check it, run it, explain what went wrong."""

import difflib
import logging
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, NoReturn, TypeVar

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dvs2s.errors import ConfigError, Dvs2sError, Interrupted
from dvs2s.paths import config_folder
from dvs2s.sweeps.command import run_sweep
from dvs2s.sweeps.job import current_place, run_job
from dvs2s.sweeps.plan import is_sweep

Schema = TypeVar("Schema")

RESUME_ME = 75
"""Exit code of a run that was interrupted, saved its state and can be started again."""


def run(config_name: str, schema: type[Schema], function: Callable[[Schema], Any]) -> None:
    """Runs a command: never returns normally after an error.

    Exit codes: 0 done, 2 wrong option or input, 75 interrupted and resumable, 130 interrupted;
    of a sweep also 1, a job failed.

    Args:
        config_name: of the primary file in ``conf/``, without ``.yaml``.
        schema: dataclass of all its options.
        function: gets the checked configuration; what it returns goes to Hydra's sweepers.
    """
    assert is_dataclass(schema)
    ConfigStore.instance().store(name=f"{config_name}_schema", node=schema)

    def task(composed: DictConfig) -> Any:
        logging.getLogger("dvs2s").setLevel(logging.INFO)
        return function(as_schema(composed, schema))

    try:
        suggest(config_name, sys.argv[1:])
        if _asks_for_help(sys.argv[1:]):
            sys.argv += _introduction(config_name, function)
        if is_sweep(sys.argv[1:]):
            sys.exit(_sweep(config_name, task))
        _hydra(config_name, _explained(task))
    except ConfigError as error:
        fail(error)
    except BrokenPipeError:  # of --help, which the task's own guard does not see
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _asks_for_help(arguments: list[str]) -> bool:
    return bool({"--help", "-h"} & set(arguments))


def _introduction(config_name: str, function: Callable[..., Any]) -> list[str]:
    """Returns overrides by which Hydra's help begins with what the command does, by its module."""
    about = (sys.modules[function.__module__].__doc__ or config_name).strip().splitlines()[0]
    quoted = about.replace("``", "").replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.help.app_name={config_name}", f"hydra.help.header='{quoted}'"]


def _hydra(config_name: str, task: Callable[[DictConfig], Any]) -> None:
    """Runs Hydra with the command line that ``sys.argv`` holds."""
    decorate = hydra.main(
        version_base="1.3", config_path=str(config_folder()), config_name=config_name
    )
    decorate(task)()


def _sweep(config_name: str, task: Callable[[DictConfig], Any]) -> int:
    """Runs a sweep's jobs, each guarded from the others, and returns the exit code."""
    program = sys.argv[0]

    def job(composed: DictConfig) -> Any:
        place = current_place()
        assert place is not None
        return run_job(place, lambda: task(composed), list(composed.sweep.returns))

    def launch(arguments: list[str]) -> None:
        sys.argv = [program, *arguments]
        _hydra(config_name, job)

    logging.getLogger("dvs2s").setLevel(logging.INFO)
    try:
        return run_sweep(config_name, sys.argv[1:], config_folder(), launch)
    except (Dvs2sError, ValueError) as error:
        fail(error)


def as_schema(composed: DictConfig, schema: type[Schema]) -> Schema:
    """Returns the composed configuration as its dataclass, ranges checked.

    Raises:
        ConfigError: a value out of range or a missing one.
    """
    try:
        checked = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    assert isinstance(checked, schema)
    return checked


def suggest(config_name: str, arguments: list[str]) -> None:
    """Checks the names of the options before Hydra does, to name the nearest right one.

    Args:
        config_name: the primary file.
        arguments: the command line without the program.

    Raises:
        ConfigError: an option that does not exist.
    """
    overrides = _parse([a for a in arguments if not a.startswith("-") and "=" in a])
    plain = [o for o in overrides if not o.is_delete()]
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        groups = loader.list_groups("")
        choices = [o for o in plain if o.key_or_group.split("@")[0].strip("/") in groups]
        single = [o.input_line or "" for o in choices if not o.is_sweep_override()]
        try:
            composed = hydra.compose(config_name, overrides=single)
        except (HydraException, OmegaConfBaseException):
            return  # a choice that does not exist: Hydra lists those that do
    keys = set(_keys(composed)) | set(groups)
    for override in plain:
        key = override.key_or_group.split("@")[0].strip("/")
        if key not in keys and not key.startswith("hydra"):
            raise ConfigError(f"there is no option {key!r}{_nearest(key, sorted(keys))}")


def _parse(arguments: list[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(arguments)
    except HydraException as error:
        raise ConfigError(str(error)) from error


def _keys(node: Any, prefix: str = "") -> list[str]:
    found = []
    for name in node:
        path = f"{prefix}{name}"
        found.append(path)
        child = node._get_node(name)
        if isinstance(child, DictConfig):
            found += _keys(child, f"{path}.")
    return found


def _nearest(key: str, keys: list[str]) -> str:
    """Returns ', did you mean …?' by the whole path or, failing that, by the last name."""
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.6)
    if not close:
        last = {k.rsplit(".", 1)[-1]: k for k in keys}
        close = [last[k] for k in difflib.get_close_matches(key.rsplit(".", 1)[-1], last, n=1)]
    return f": did you mean {close[0]!r}?" if close else ": --cfg job lists all options"


def _explained(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    def wrapper(composed: DictConfig) -> Any:
        try:
            return task(composed)
        except Interrupted as error:
            print(error, file=sys.stderr)
            sys.exit(RESUME_ME)
        except BrokenPipeError:
            sys.stderr.close()  # the reader of our output left: nothing to say to it
            sys.exit(0)
        except (Dvs2sError, ValueError) as error:
            fail(error)

    return wrapper


def fail(error: Exception) -> NoReturn:
    """Prints the error in one line and exits with 2."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
