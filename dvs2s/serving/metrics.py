"""What the server counts, for Prometheus. Labels come from fixed lists, never from requests."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from dvs2s.serving.client import EngineClient

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STAGES = ("queue", "encode", "predict", "select", "search", "total")


class Metrics:
    """All counters of one application.

    Args:
        engine: asked for its queue whenever the metrics are read.
    """

    def __init__(self, engine: EngineClient) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry, "namespace": "dvs2s"}
        self.requests = Counter("requests", "HTTP requests", ["route", "status"], **made)
        self.latency = Histogram(
            "request_seconds", "from the head to the last byte", ["route"], buckets=_SECONDS, **made
        )
        self.stages = Histogram(
            "stage_seconds", "of an answer, by stage", ["stage"], buckets=_SECONDS, **made
        )
        self.batch = Histogram(
            "batch_size", "messages that shared steps", buckets=(1, 2, 4, 8, 16, 32, 64), **made
        )
        self.vocabulary = Histogram(
            "vocabulary_words",
            "words of T",
            buckets=(50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200),
            **made,
        )
        self.first_text = Histogram(
            "first_text_seconds", "to the first text of a stream", buckets=_SECONDS, **made
        )
        self.tokens = Counter("tokens", "words generated", **made)
        for name, text, function in (
            ("queued", "jobs that wait", lambda: engine.num_queued),
            ("running", "jobs in the engine process", lambda: engine.num_running),
            ("ready", "whether jobs are taken", lambda: float(engine.ready)),
        ):
            Gauge(name, text, **made).set_function(function)

    def answered(self, done: dict[str, Any]) -> None:
        """Takes the figures of a ``done`` event."""
        for stage in STAGES:
            if stage in done["seconds"]:
                self.stages.labels(stage).observe(done["seconds"][stage])
        self.batch.observe(done["batch"])
        self.vocabulary.observe(done["vocabulary"]["size"])
        self.tokens.inc(sum(len(reply["tokens"]) for reply in done["replies"]))

    def text(self) -> bytes:
        """Returns everything in Prometheus' text format."""
        return generate_latest(self.registry)
