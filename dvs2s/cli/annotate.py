"""People's judgement of replies: make sheets, serve the page, report.

``python -m dvs2s.cli.annotate mode=make folder=FOLDER '+rows={S2SA: a.jsonl, DVS2S: b.jsonl}'``
"""

import logging
from pathlib import Path

from dvs2s.annotation.server import AnnotationServer
from dvs2s.annotation.sheet import Sheet, load_sheet, make_sheet, read_replies, save_sheet
from dvs2s.annotation.store import LabelStore
from dvs2s.annotation.summary import summarise, to_markdown
from dvs2s.cli.annotate_options import AnnotateConfig
from dvs2s.cli.entry import run
from dvs2s.errors import ConfigError
from dvs2s.training.lock import RunLock

logger = logging.getLogger("dvs2s")


def main(config: AnnotateConfig) -> None:
    """Does what ``mode`` says."""
    match config.mode:
        case "make":
            make(config)
        case "serve":
            serve(config)
        case "import":
            import_sheet(config)
        case "report":
            report(config)


def make(config: AnnotateConfig) -> None:
    """Writes blinded items out of files of replies."""
    if not config.rows:
        raise ConfigError("rows names no file of replies: set '+rows={NAME: FILE, NAME: FILE}'")
    said = {name: read_replies(Path(file)) for name, file in config.rows.items()}
    number = min(config.number, *(len(pairs) for pairs in said.values()))
    sheet = make_sheet(said, number=number, seed=config.seed)
    save_sheet(Path(config.folder), sheet)
    print(f"{config.folder}: {len(sheet.items)} items of {number} messages and {len(said)} rows")


def serve(config: AnnotateConfig) -> None:
    """Serves the page until Ctrl-C or SIGTERM; every label is on disk when the page goes on."""
    sheet, store = _open(config)
    with (
        RunLock(Path(config.folder)),
        AnnotationServer((config.host, config.port), sheet, store) as server,
    ):
        host, port = server.server_address[:2]
        print(f"http://{host!s}:{port} serves {len(sheet.items)} items; Ctrl-C ends", flush=True)
        server.serve_forever()


def import_sheet(config: AnnotateConfig) -> None:
    """Adds the labels of a sheet that was filled in by hand."""
    with RunLock(Path(config.folder)):
        _, store = _open(config)
        try:
            count = store.import_sheet(config.annotator, Path(config.sheet))
        except ValueError as error:
            raise ConfigError(str(error)) from error
    print(f"{config.sheet}: {count} labels of {config.annotator}")


def report(config: AnnotateConfig) -> None:
    """Prints distribution, means and kappa."""
    sheet, store = _open(config)
    labels = store.labels()
    print(to_markdown(summarise(sheet, labels), labels), end="")


def _open(config: AnnotateConfig) -> tuple[Sheet, LabelStore]:
    folder = Path(config.folder)
    sheet = load_sheet(folder)
    return sheet, LabelStore(folder, frozenset(item.id for item in sheet.items))


if __name__ == "__main__":
    run("annotate", AnnotateConfig, main)
