"""Options of decoding."""

from dataclasses import dataclass, fields

from dvs2s.config.checks import at_least, one_of
from dvs2s.decoding.options import SearchOptions
from dvs2s.errors import ConfigError

SHORTLISTS = ("frequency", "lexical")
"""Values of ``search.vocabulary`` that count the training corpus in place of asking β."""


@dataclass
class SearchConfig:
    """How a reply is found, and over which words."""

    kind: str = "beam"
    beam: int = 20
    num_best: int = 1
    length_penalty: float = 0.0
    min_length: int = 1
    max_length: int = 40
    block_ngram: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    groups: int = 5
    diversity: float = 0.5
    seed: int = 0
    vocabulary: str = "size"
    size: int = 1000
    threshold: float = 0.01
    alpha: float = 0.5
    message_words: bool = True
    coverage_alpha: float = 0.05
    coverage_of: str = "all"
    coverage_by: str = "threshold"
    generic_share: float = 1.0

    def __post_init__(self) -> None:
        choices = ("size", "threshold", "full", "conformal", *SHORTLISTS)
        one_of(self, "search", "vocabulary", choices)
        one_of(self, "search", "coverage_of", ("all", "share"))
        one_of(self, "search", "coverage_by", ("threshold", "size"))
        if not 0 < self.coverage_alpha < 1:
            raise ConfigError(
                f"search.coverage_alpha must lie between 0 and 1, got {self.coverage_alpha:g}"
            )
        at_least(self, "search", 1, "size")
        if not 0 < self.threshold < 1:
            raise ConfigError(f"search.threshold must lie between 0 and 1, got {self.threshold:g}")
        if not 0 <= self.alpha < float("inf"):
            raise ConfigError(f"search.alpha must be 0 or more, got {self.alpha:g}")
        if not 0 < self.generic_share <= 1:
            raise ConfigError(
                f"search.generic_share must lie above 0 and be 1 at most (1 is off), got "
                f"{self.generic_share}"
            )
        if self.generic_share < 1 and "beam" not in self.kind:
            raise ConfigError(
                f"search.generic_share={self.generic_share} chooses among the replies of a beam, "
                f"got search.kind={self.kind}: set search.kind=beam"
            )
        try:
            self.options()
        except ValueError as error:
            raise ConfigError(str(error)) from error

    @property
    def is_sized(self) -> bool:
        """Whether T has ``size`` words."""
        return self.vocabulary == "size" or self.vocabulary in SHORTLISTS

    def options(self) -> SearchOptions:
        """Returns the part of it that the search itself reads."""
        names = {f.name for f in fields(SearchOptions)}
        return SearchOptions(**{name: getattr(self, name) for name in names})
