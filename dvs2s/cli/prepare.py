"""Prepares dialogues for training: ``python -m dvs2s.cli.prepare data=tsv data.root=FOLDER``."""

from pathlib import Path

from dvs2s.build import prepare_options, prepared_data, sources
from dvs2s.cli.configs import PrepareConfig
from dvs2s.cli.entry import run
from dvs2s.data.corpus import PreparedData
from dvs2s.data.prepare import prepare


def main(config: PrepareConfig) -> None:
    """Prepares the corpus unless its prepared form is up to date."""
    if config.force:
        options, folder = prepare_options(config.data), Path(config.data.prepared)
        prepare(sources(config.data), folder, options=options, progress=True)
        data = PreparedData.open(folder)
    else:
        data = prepared_data(config.data, progress=True)
    print(describe(data, config.data.prepared))


def describe(data: PreparedData, folder: str) -> str:
    """Returns what is in a prepared corpus, for people."""
    vocabulary = data.vocabulary
    lines = [
        f"{folder}",
        f"  words      {len(vocabulary):,}, of which {vocabulary.num_fixed:,} special and function "
        f"words; they cover {vocabulary.coverage:.2%} of the training tokens",
    ]
    for split in data.splits:
        left_out = data.manifest.splits[split].left_out()
        why = f"; left out: {left_out}" if left_out else ""
        lines.append(f"  {split:10} {len(data.split(split)):,} pairs{why}")
    return "\n".join(lines)


if __name__ == "__main__":
    run("prepare", PrepareConfig, main)
