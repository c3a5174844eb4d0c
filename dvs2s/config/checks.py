"""Range checks that name option, value and range."""

from typing import Any

from dvs2s.errors import ConfigError


def at_least(options: Any, group: str, low: float, *names: str) -> None:
    """Checks that each named option of ``group`` is at least ``low``.

    Raises:
        ConfigError: one is not, or is NaN.
    """
    for name in names:
        value = getattr(options, name)
        if not value >= low:
            raise ConfigError(f"{group}.{name} must be at least {low:g}, got {value}")


def one_of(options: Any, group: str, name: str, choices: tuple[str, ...]) -> None:
    """Checks that an option of ``group`` is one of ``choices``.

    Raises:
        ConfigError: it is not.
    """
    value = getattr(options, name)
    if value not in choices:
        raise ConfigError(f"{group}.{name} must be one of {', '.join(choices)}, got {value!r}")
