"""The settings of the server, checked when they are made."""

import math
from dataclasses import dataclass

from dvs2s.errors import ConfigError

_LEAST = {
    "max_batch": 1,
    "batch_cells": 1,
    "max_queue": 1,
    "max_body": 1024,
    "max_characters": 1,
    "max_turns": 1,
    "max_replies": 1,
    "max_beam": 1,
    "max_reply_words": 1,
    "max_connections": 1,
}
_POSITIVE = ("request_seconds", "drain_seconds", "read_seconds", "engine_silence", "start_seconds")


@dataclass
class ServerOptions:
    """Limits and manners of the server.

    Args:
        max_batch: messages that share the steps of one search, at most.
        batch_cells: beam times words of T, summed over a batch, at most: it bounds memory.
        batch_wait: seconds that an idle engine waits for company after the first message.
        max_queue: requests that wait, at most; a further one gets 429.
        request_seconds: from arrival to the last word; then 504.
        drain_seconds: on SIGTERM, how long requests at work may take to finish.
        read_seconds: for the head, and then for the body of a request to arrive.
        engine_silence: seconds without a sign of life after which the engine is restarted.
        start_seconds: for a checkpoint to load.
        max_body: bytes of a request.
        max_characters: of one message.
        max_turns: messages of one conversation.
        max_replies: replies to one message (n, num_best).
        max_beam: width of a beam.
        max_reply_words: search.max_length that a request may ask for.
        max_connections: open at once; beyond it 503.
        cors: origins that other sites' pages may call from; none by default.
        log_text: whether messages and replies go to the log.
        key_variable: the environment variable that holds the API key; no key when it is unset.
    """

    max_batch: int = 32
    batch_cells: int = 8_000_000
    batch_wait: float = 0.002
    max_queue: int = 256
    request_seconds: float = 30.0
    drain_seconds: float = 30.0
    read_seconds: float = 10.0
    engine_silence: float = 60.0
    start_seconds: float = 120.0
    max_body: int = 262_144
    max_characters: int = 4000
    max_turns: int = 512
    max_replies: int = 20
    max_beam: int = 100
    max_reply_words: int = 200
    max_connections: int = 4096
    cors: str = ""
    log_text: bool = False
    key_variable: str = "DVS2S_API_KEY"

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ConfigError(
                    f"server.{name} must be at least {least}, got {getattr(self, name)}"
                )
        for name in _POSITIVE:
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"server.{name} must be a number of seconds above 0, got {value}")
        if not 0 <= self.batch_wait <= 1:
            raise ConfigError(f"server.batch_wait must lie in 0..1 seconds, got {self.batch_wait}")
        if any(not origin.startswith(("http://", "https://")) for origin in self.origins):
            raise ConfigError(
                f"server.cors must list origins such as https://example.org, got {self.cors!r}: "
                f"separate them by blanks"
            )

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may call the API."""
        return self.cors.split()
