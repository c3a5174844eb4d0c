"""The same application on a Ray cluster: ``serve run dvs2s.serving.ray_app:deployment``.

Each replica has an engine process of its own. The checkpoint is named by the environment variable
DVS2S_CHECKPOINT and has to be where the replicas run; DVS2S_API_KEY asks for a key;
DVS2S_DEVICE, DVS2S_THREADS, DVS2S_ENGINE and DVS2S_PRECISION are as serve.py's options.
"""

import os
from typing import Any

from fastapi import FastAPI

from dvs2s.serving.app import create_app
from dvs2s.serving.engine import Engine
from dvs2s.serving.options import ServerOptions


def application() -> FastAPI:
    """Returns the application of one replica."""
    checkpoint = os.environ.get("DVS2S_CHECKPOINT", "runs/smalltalk")
    settings: dict[str, Any] = {
        "models": {os.path.basename(checkpoint.rstrip("/")): os.path.abspath(checkpoint)},
        "device": os.environ.get("DVS2S_DEVICE", "cpu"),
        "threads": int(os.environ.get("DVS2S_THREADS", "0")),
        "engine": os.environ.get("DVS2S_ENGINE", "auto"),
        "precision": os.environ.get("DVS2S_PRECISION", "fp32"),
        "search": {},
    }
    options = ServerOptions()
    return create_app(Engine(settings, options), options, key=os.environ.get("DVS2S_API_KEY", ""))


def __getattr__(name: str) -> Any:
    """Makes ``deployment`` on first use, so that importing this module needs no Ray."""
    if name != "deployment":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ray import serve  # type: ignore[import-not-found,unused-ignore]

    class Replica:
        """One replica; all its routes are the application's."""

    # Ray's own limit is above ours: it is the engine's queue that says 429.
    replica: Any = serve.deployment(max_ongoing_requests=1024)(serve.ingress(application)(Replica))
    return replica.bind()
