"""Where the files that ship with the package are: in a checkout, or inside the installed wheel."""

from pathlib import Path

from dvs2s.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent


def config_folder() -> Path:
    """Returns the folder of the YAML files.

    Raises:
        ConfigError: the installation is incomplete.
    """
    return _first(_PACKAGE.parent / "conf", _PACKAGE / "conf")


def embedded_corpus() -> Path:
    """Returns the folder of the small-talk corpus' topic files.

    Raises:
        ConfigError: the installation is incomplete.
    """
    return _first(
        _PACKAGE.parent / "data" / "smalltalk" / "topics",
        _PACKAGE / "embedded" / "smalltalk" / "topics",
    )


def _first(*candidates: Path) -> Path:
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise ConfigError(f"the installation lacks {candidates[0].name}/: install dvs2s again")
