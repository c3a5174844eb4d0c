"""manifest.json of a prepared folder: what it was made from and what is in it."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from dvs2s.errors import DataError

FORMAT = 1
NAME = "manifest.json"
_T = TypeVar("_T")


@dataclass(frozen=True)
class SourceFile:
    """A file that was read: path as given, bytes, modification time (ns) and SHA-256."""

    path: str
    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "SourceFile":
        """Returns the entry of a file on disk; reads all of it."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            status = path.stat()
        return cls(str(path), status.st_size, status.st_mtime_ns, digest)

    def is_unchanged(self, path: Path) -> bool:
        """Returns whether a file holds the same bytes; reads it only where its time differs."""
        status = path.stat()
        if status.st_size != self.size:
            return False
        return status.st_mtime_ns == self.mtime_ns or SourceFile.of(path).sha256 == self.sha256


@dataclass
class SplitCounts:
    """What happened to a split's lines and pairs."""

    pairs: int = 0
    message_tokens: int = 0
    response_tokens: int = 0
    unknown_message_tokens: int = 0
    unknown_response_tokens: int = 0
    truncated_messages: int = 0
    truncated_responses: int = 0
    duplicates_dropped: int = 0
    without_tokens_dropped: int = 0
    lines_read: int = 0
    blank_lines: int = 0
    malformed: dict[str, int] = field(default_factory=dict)
    first_malformed: list[str] = field(default_factory=list)

    def left_out(self) -> str:
        """Returns what was left out and why, for people; empty when all lines were used."""
        malformed = sum(self.malformed.values())
        kinds = ", ".join(f"{kind} {n:,}" for kind, n in sorted(self.malformed.items()))
        parts = [
            f"{malformed:,} malformed ({kinds})" if malformed else "",
            f"{self.duplicates_dropped:,} held by another split" if self.duplicates_dropped else "",
            f"{self.without_tokens_dropped:,} with an empty side"
            if self.without_tokens_dropped
            else "",
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Manifest:
    """Everything about a prepared folder but the data itself.

    Args:
        format: version of the folder's layout.
        options: the choices that shaped the result.
        sources: files by split; a list of function words under "function_words".
        splits: counts by split.
        vocabulary_size: V, specials included.
        vocabulary_fingerprint: see Vocabulary.fingerprint.
        pruned_words: rare words forgotten while counting because memory was short; 0 is exact.
        fingerprint: SHA-256 over options, source contents and vocabulary.
    """

    format: int
    options: dict[str, Any]
    sources: dict[str, list[SourceFile]]
    splits: dict[str, SplitCounts]
    vocabulary_size: int
    vocabulary_fingerprint: str
    pruned_words: int
    fingerprint: str

    def to_json(self) -> str:
        """Returns the text of manifest.json."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Returns the manifest of a prepared folder.

        Raises:
            DataError: it is missing, damaged or of another version.
        """
        path = folder / NAME
        try:
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise DataError(
                f"{path}: cannot read it ({error.strerror}): is {folder} a prepared folder?"
            ) from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: damaged, not JSON ({error}): prepare again") from None
        version = content.get("format") if isinstance(content, dict) else None
        if version != FORMAT:
            raise DataError(f"{path}: format {version}, this release reads {FORMAT}: prepare again")
        try:
            content["sources"] = {
                split: [_make(SourceFile, entry) for entry in entries]
                for split, entries in content["sources"].items()
            }
            content["splits"] = {
                split: _make(SplitCounts, entry) for split, entry in content["splits"].items()
            }
            return _make(cls, content)
        except (TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path}: not a valid manifest ({error!r}): prepare again") from None


def data_fingerprint(
    options: dict[str, Any], sources: dict[str, list[SourceFile]], vocabulary: str
) -> str:
    """Returns the SHA-256 over options, the sources' contents (not their paths) and vocabulary."""
    contents = {split: [file.sha256 for file in files] for split, files in sources.items()}
    text = json.dumps([FORMAT, options, contents, vocabulary], sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _make(kind: type[_T], entry: dict[str, Any]) -> _T:
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if set(entry) != names:
        raise KeyError(f"{kind.__name__} needs {sorted(names)}, got {sorted(entry)}")
    return kind(**entry)
