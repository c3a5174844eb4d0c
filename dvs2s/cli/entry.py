"""A command's way in: compose its configuration, check it, run it, explain what went wrong."""

import difflib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from typing import Any, NoReturn, TypeVar

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
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

_FLAGS_WITH_VALUES = {"--cfg", "-c", "--package", "-p", "--info", "-i", "--shell-completion", "-sc"}
_FLAGS_WITH_VALUES |= {"--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd"}


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
            about = sys.modules[function.__module__].__doc__ or ""
            print(help_text(config_name, sys.argv[1:], about))
            sys.exit(0)
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


def composed_as(config_name: str, schema: type[Schema], overrides: Sequence[str] = ()) -> Schema:
    """Returns what another command would read, from within a running one.

    Args:
        config_name: as of ``run``, like ``schema``.
        overrides: as on its command line.

    Raises:
        ConfigError: a value out of range or a missing one.
    """
    ConfigStore.instance().store(name=f"{config_name}_schema", node=schema)
    return as_schema(hydra.compose(config_name, overrides=list(overrides)), schema)


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
    """Checks options, choices and types before Hydra does, to say in a line what would be right.

    Args:
        config_name: the primary file.
        arguments: the command line without the program.

    Raises:
        ConfigError: an option or a choice that does not exist, or a value of another type.
    """
    overrides = _parse(_options(arguments))
    plain = [o for o in overrides if not o.is_delete()]
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        groups = loader.list_groups("")
        choices = [o for o in plain if o.key_or_group.split("@")[0].strip("/") in groups]
        for choice in choices:
            group = choice.key_or_group.split("@")[0].strip("/")
            _check_choice(choice, loader.get_group_options(group))
        chosen = [o for o in choices if not o.is_sweep_override() and o.value() is not None]
        single = [o.input_line or "" for o in chosen]
        composed = _compose(config_name, single)
        if composed is None:
            return
        keys = set(_keys(composed)) | set(groups)
        for override in plain:
            key = override.key_or_group.split("@")[0].strip("/")
            if key not in keys and not key.startswith("hydra"):
                raise ConfigError(f"there is no option {key!r}{_nearest(key, sorted(keys))}")
        values = [o for o in plain if o not in choices and not o.is_sweep_override()]
        own = [o.input_line or "" for o in values if not o.key_or_group.startswith("hydra")]
        _compose(config_name, single + own)


def help_text(config_name: str, arguments: list[str], about: str) -> str:
    """Returns what a command does, its groups with their choices, and its options as composed.

    Args:
        config_name: the primary file.
        arguments: the command line without the program; groups chosen there show in the options.
        about: what the command does, and how it is called.
    """
    chosen = [o for o in _options(arguments) if not o.startswith("hydra")]
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        composed = hydra.compose(config_name, overrides=chosen, return_hydra_config=True)
        choices = composed.hydra.runtime.choices
        groups = {
            group: ", ".join(loader.get_group_options(group))
            for group in choices
            if not group.startswith("hydra/") and f"{choices[group]}" != "no_output"
        }
        options = OmegaConf.to_yaml(hydra.compose(config_name, overrides=chosen))
    lines = [about.strip().replace("``", ""), ""]
    lines += ["Options are group=choice and option=value, such as those below. Groups:"] * bool(
        groups
    )
    lines += [f"  {group}: {names}" for group, names in groups.items()]
    lines += ["", "Options, with the values that they have now:", "", options]
    lines += [
        "What each means: docs/data.md, section Options, and the command's own page in docs/."
    ]
    return "\n".join(
        [*lines, "--cfg job prints the options alone, --hydra-help Hydra's own flags."]
    )


def _compose(config_name: str, overrides: list[str]) -> DictConfig | None:
    """Returns the composed options; None where Hydra itself has to say what is wrong.

    Raises:
        ConfigError: a value is of another type than its option.
    """
    try:
        return hydra.compose(config_name, overrides=overrides)
    except HydraException as error:
        if isinstance(error.__cause__, OmegaConfBaseException):
            what = str(error).splitlines()[0].removeprefix("Error merging override ")
            why = str(error.__cause__).splitlines()[0]
            raise ConfigError(f"{what}: {why}") from None
        return None
    except OmegaConfBaseException:
        return None


def _check_choice(choice: Override, known: list[str]) -> None:
    """Refuses a choice that its group does not have."""
    if choice.is_sweep_override():
        swept = choice.value()
        values: list[Any] = list(swept.list) if isinstance(swept, ChoiceSweep) else []
    else:
        values = [choice.value()]
    for value in values:
        name = value.text if isinstance(value, QuotedString) else value
        if isinstance(name, str) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            group = choice.key_or_group
            raise ConfigError(f"there is no {group}={name}{hint} (there are {', '.join(known)})")


def _options(arguments: list[str]) -> list[str]:
    """Returns the arguments that set an option: not Hydra's flags and what belongs to them.

    Raises:
        ConfigError: an argument that is neither.
    """
    found = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if argument.startswith("-") or before in _FLAGS_WITH_VALUES:
            continue
        if "=" not in argument and not argument.startswith("~"):
            raise ConfigError(f"{argument!r} sets nothing: write {argument}=VALUE")
        found.append(argument)
    return found


def _parse(arguments: list[str]) -> list[Override]:
    parser, found = OverridesParser.create(), []
    for argument in arguments:
        try:
            found += parser.parse_overrides([argument])
        except HydraException as error:
            raise ConfigError(
                f"cannot read {argument!r}: write option=value without spaces around '='; text "
                f"with '=', commas or brackets in quotes, \"option='text'\" or "
                f"\"option=['a=1','b=2']\""
            ) from error
    return found


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
