"""Serves the chatbot: ``python serve.py [checkpoint=...] [port=...] [search.size=300]``."""

import asyncio
import errno
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dvs2s.cli.configs import ServeConfig
from dvs2s.cli.default_model import DEFAULT, is_unfinished, train_default
from dvs2s.cli.entry import composed_as, run
from dvs2s.config import SearchConfig, TrainConfig
from dvs2s.errors import CheckpointError, ConfigError, Dvs2sError

logger = logging.getLogger("dvs2s")


def main(config: ServeConfig) -> None:
    """Serves until SIGINT or SIGTERM.

    Raises:
        Dvs2sError: the checkpoint cannot be loaded, the address is not to be had, or the extra
            ``serve`` is not installed.
    """
    _check_installed()
    check_address(config.host, config.port)
    check_search(config)
    check_checkpoint(config)
    _allow_connections(config.server.max_connections)
    from dvs2s.serving.http import new_loop

    with asyncio.Runner(loop_factory=new_loop) as runner:
        failure = runner.run(_serve(config))
    if failure is not None:
        raise CheckpointError(str(failure))


async def _serve(config: ServeConfig) -> Exception | None:
    """Returns why the engine did not start, or None after an orderly end."""
    import uvicorn

    from dvs2s.serving.app import create_app
    from dvs2s.serving.engine import Engine
    from dvs2s.serving.http import Server, protocol

    engine = Engine(engine_settings(config), config.server)
    failures: list[Exception] = []
    tasks: set[asyncio.Task[None]] = set()

    def failed(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    async def reload() -> None:
        try:
            await engine.reload()
        except RuntimeError as error:
            logger.error("not reloaded, the former model goes on: %s", error)

    def begin_reload() -> None:
        task = asyncio.get_running_loop().create_task(reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def say_ready() -> None:
        while not (engine.ready or failures):
            await asyncio.sleep(0.05)
        for info in engine.models:
            logger.info(
                "%s: %s, %s words, %s on %s, %s",
                info.name,
                info.source,
                f"{info.words:,}",
                info.precision,
                info.device,
                info.kernels,
            )
        if not failures:
            logger.info("ready")

    def listening(port: int) -> None:
        host = f"[{config.host}]" if ":" in config.host else config.host
        logger.info("http://%s:%d  (API: /docs, speed: /bench; Ctrl-C ends)", host, port)

    key = os.environ.get(config.server.key_variable, "")
    app = create_app(engine, config.server, key=key, on_failure=failed)
    options: dict[str, Any] = {
        "host": config.host,
        "port": config.port,
        "http": protocol(config.server.read_seconds),
        "ws": "none",
        "log_level": "warning",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "limit_concurrency": config.server.max_connections,
        "timeout_graceful_shutdown": int(config.server.drain_seconds) + 1,
        "backlog": 2048,
    }
    server = Server(
        uvicorn.Config(app, **options),
        on_drain=engine.drain,
        on_reload=begin_reload,
        on_listening=listening,
    )
    ready = asyncio.create_task(say_ready())
    try:
        await server.serve()
    finally:
        ready.cancel()
    return failures[0] if failures else None


def engine_settings(config: ServeConfig) -> dict[str, Any]:
    """Returns what the engine process has to know, as plain types."""
    models = {_name(config.checkpoint): str(Path(config.checkpoint).resolve())}
    if config.compare:
        name = _name(config.compare)
        name = f"{name}-compare" if name in models else name
        models[name] = str(Path(config.compare).resolve())
    return {
        "models": models,
        "device": config.device,
        "threads": config.threads,
        "engine": config.engine,
        "precision": config.precision,
        "search": config.search.given(),
    }


def _name(checkpoint: str) -> str:
    path = Path(checkpoint).resolve()
    return path.parent.parent.name if path.parent.name == "checkpoints" else path.name


def _allow_connections(number: int) -> None:
    """Raises the limit of open files to what the connections need, as far as it may."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number + 256
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _check_installed() -> None:
    try:
        import fastapi  # noqa: F401
        import httptools  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise Dvs2sError(
            f"{error.name} is missing: pip install -c constraints.txt -e '.[serve]'"
        ) from error


def check_address(host: str, port: int) -> None:
    """Checks that the server can listen, before anything is trained or loaded.

    Raises:
        ConfigError: the port is taken or not allowed, or the host is not this machine's.
    """
    import socket

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            if sys.platform != "win32":  # as the server does: a port just left is free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES):
            mend = f"give port=... another than {port}, or port=0 for any free one"
        else:
            mend = "give host=127.0.0.1, or an address of this machine (0.0.0.0 is all of them)"
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}; {mend}") from error


def check_search(config: ServeConfig) -> None:
    """Checks ``search`` before a default model is trained, which the engine would check after.

    Raises:
        ConfigError: a setting that the default model's own do not allow, by its name.
    """
    if DEFAULT not in (config.checkpoint, config.compare):
        return
    if Path(DEFAULT).exists() and not is_unfinished():
        return
    training = composed_as("train", TrainConfig)
    SearchConfig(**{**asdict(training.search), **config.search.given()})


def check_checkpoint(config: ServeConfig) -> None:
    """Trains the default model where there is none.

    Raises:
        CheckpointError: another checkpoint is missing, or the training did not end well.
        Interrupted: a signal stopped the training.
    """
    for folder in filter(None, (config.checkpoint, config.compare)):
        if folder == DEFAULT and is_unfinished():
            logger.info("going on with the training of the default model")
            train_default()
        if Path(folder).exists():
            continue
        if folder != DEFAULT:
            raise CheckpointError(f"{folder} does not exist: give the folder of a run")
        logger.info("there is no %s yet: training the default model, about two minutes", folder)
        train_default()


if __name__ == "__main__":
    run("serve", ServeConfig, main)
