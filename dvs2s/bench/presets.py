"""What each preset of the decoding benchmark decodes, and with whom."""

from dataclasses import dataclass, replace

from dvs2s.model import ModelSizes

PAPER_SIZES = ModelSizes(
    vocabulary_size=30_000,
    num_fixed=500,
    embedding_size=620,
    hidden_size=1_024,
    bag_size=620,
    predictor_size=1_024,
)
TINY_SIZES = ModelSizes(
    vocabulary_size=300,
    num_fixed=20,
    embedding_size=12,
    hidden_size=16,
    bag_size=8,
    predictor_size=8,
)


@dataclass(frozen=True)
class Setting:
    """One decoding task.

    Args:
        vocabulary_size: V.
        num_words: |T| of dynamic vocabularies.
        batch: messages B at a time.
        beam: W; 1 is greedy search.
    """

    vocabulary_size: int
    num_words: int
    batch: int
    beam: int

    def describe(self) -> str:
        """Returns the task in words."""
        kind = "greedy" if self.beam == 1 else f"beam {self.beam}"
        return f"V = {self.vocabulary_size:,}, |T| = {self.num_words:,}, batch {self.batch}, {kind}"


@dataclass(frozen=True)
class Preset:
    """A grid.

    Args:
        sizes: of the model, but for V.
        settings: the tasks.
        contenders: (kind, vocabulary): "plain", "torch_int8", "fp32", "bf16", "int8",
            "ctranslate2", "huggingface" with "full" or "dynamic".
        rounds: timed rounds.
    """

    sizes: ModelSizes
    settings: tuple[Setting, ...]
    contenders: tuple[tuple[str, str], ...]
    rounds: int

    def at(self, vocabulary_size: int) -> ModelSizes:
        """Returns the model's sizes for one V."""
        return replace(self.sizes, vocabulary_size=vocabulary_size)


_MAIN = (
    ("plain", "full"),
    ("torch_int8", "full"),
    ("plain", "dynamic"),
    ("int8", "full"),
    ("fp32", "dynamic"),
    ("bf16", "dynamic"),
    ("int8", "dynamic"),
)
_BOTH = (Setting(30_000, 1_000, 1, 1), Setting(30_000, 1_000, 1, 20))

PRESETS: dict[str, Preset] = {
    "smoke": Preset(
        TINY_SIZES,
        (Setting(300, 60, 1, 1), Setting(300, 60, 2, 4)),
        _MAIN,
        rounds=2,
    ),
    "quick": Preset(PAPER_SIZES, _BOTH, _MAIN, rounds=5),
    "paper": Preset(
        PAPER_SIZES,
        (
            *_BOTH,
            Setting(30_000, 1_000, 64, 1),
            Setting(30_000, 1_000, 16, 5),
            Setting(30_000, 500, 1, 20),
            Setting(30_000, 2_000, 1, 20),
            Setting(30_000, 5_000, 1, 20),
        ),
        _MAIN,
        rounds=9,
    ),
    "scaling": Preset(
        PAPER_SIZES,
        tuple(
            setting
            for size in (30_000, 128_000, 256_000)
            for setting in (
                *(Setting(size, 1_000, 1, beam) for beam in (1, 5, 20)),
                *(Setting(size, words, 1, 20) for words in (500, 2_000, 5_000)),
                *(Setting(size, 1_000, batch, 1) for batch in (16, 64, 256)),
            )
        ),
        (("int8", "full"), ("fp32", "dynamic"), ("int8", "dynamic")),
        rounds=5,
    ),
    "peers": Preset(
        PAPER_SIZES,
        (*_BOTH, Setting(30_000, 1_000, 64, 1)),
        (
            ("plain", "full"),
            ("torch_int8", "full"),
            ("int8", "full"),
            ("fp32", "dynamic"),
            ("int8", "dynamic"),
            ("huggingface", "full"),
            ("ctranslate2", "full"),
            ("ctranslate2", "dynamic"),
        ),
        rounds=5,
    ),
}
