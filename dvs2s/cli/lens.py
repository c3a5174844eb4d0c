"""Which words of a message brought each admitted word in: ``python -m dvs2s.cli.lens message=...``.

``message`` is taken as it is typed: quotes, commas and brackets in it mean nothing to Hydra.
"""

import json
import sys
from pathlib import Path

from dvs2s.cli.configs import LensConfig
from dvs2s.cli.entry import run
from dvs2s.cli.lens_picture import draw
from dvs2s.cli.output import open_output
from dvs2s.cli.runtime import open_responder
from dvs2s.errors import ConfigError, DataError
from dvs2s.lens import Lens


def main(config: LensConfig) -> None:
    """Prints a table; draws a heat map or writes JSON where asked."""
    if not config.message.strip():
        raise ConfigError('message must not be empty: give message="do you like coffee?"')
    responder = open_responder(config)
    turns = config.message.split("\t")
    lens = responder.lens(turns, limit=config.words, **config.search.given())
    if config.out:
        _write(lens, Path(config.out))
    print(lens.to_text())


def _write(lens: Lens, path: Path) -> None:
    if path.suffix == ".json":
        with open_output("out", str(path)) as file:
            file.write(json.dumps(lens.as_dict(), ensure_ascii=False, indent=1) + "\n")
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(lens, path)
    except OSError as error:
        raise DataError(f"cannot write out={path}: {error.strerror or error}") from error


def as_typed(arguments: list[str]) -> list[str]:
    """Returns the command line with the message quoted for Hydra's grammar."""
    name = "message="
    return [
        name + json.dumps(argument.removeprefix(name), ensure_ascii=False).replace("${", r"\${")
        if argument.startswith(name)
        else argument
        for argument in arguments
    ]


if __name__ == "__main__":
    sys.argv[1:] = as_typed(sys.argv[1:])
    run("lens", LensConfig, main)
