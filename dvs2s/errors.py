"""The exceptions that dvs2s raises for bad files; wrong arguments raise ValueError.

Dvs2sError
 ├── ConfigError       an option that does not exist or is out of range
 ├── DataError         a corpus that cannot be read or prepared
 ├── VocabularyError   a vocabulary file that is damaged or does not fit
 ├── CheckpointError   a checkpoint that is missing, damaged or of another vocabulary
 ├── InUseError        a folder in which another process is at work
 └── Interrupted       stopped by a signal, with the work saved
"""


class Dvs2sError(Exception):
    """Anything that dvs2s can explain to its user in a sentence."""


class ConfigError(Dvs2sError):
    """An option that does not exist or is out of range."""


class DataError(Dvs2sError):
    """A corpus that cannot be read or prepared."""


class VocabularyError(Dvs2sError):
    """A vocabulary file that is damaged or does not fit."""


class CheckpointError(Dvs2sError):
    """A checkpoint that is missing, damaged or of another vocabulary."""


class InUseError(Dvs2sError):
    """A folder in which another process is at work."""


class Interrupted(Dvs2sError):
    """The command was stopped by a signal and has saved its work."""
