"""The server as a person starts it, in a process of its own, and clients who may leave."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[3]


class Served:
    """A server of its own process.

    Args:
        arguments: of the command.
    """

    def __init__(self, *arguments: str) -> None:
        command = [
            sys.executable,
            str(ROOT / "serve.py"),
            "port=0",
            "threads=1",
            "server.request_seconds=120",
            *arguments,
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("DVS2S_API_KEY", None)
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that a test can press Ctrl-C
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self.lines.extend(iter(lines.readline, ""))

    def close(self) -> None:
        """Ends it, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self._reader.join(10)

    def press_ctrl_c(self) -> None:
        """Interrupts all of the foreground, as a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait_for(self, pattern: str, seconds: float = 120) -> str:
        """Returns the first group of the pattern in what it prints."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, "".join(self.lines))
            if found:
                return found[1] if found.groups() else found[0]
            assert time.monotonic() < end, f"never printed {pattern}: {self.lines}"
            time.sleep(0.02)

    def family(self) -> list[psutil.Process]:
        """Returns it and its children."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]


def gone(processes: list[psutil.Process], seconds: float = 60) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


@dataclass(frozen=True)
class Answered:
    """What came back; status 0 when the client had left or the connection was closed."""

    status: int
    head: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(address: str, body: Any, *, read: int = -1, path: str = "/v1/reply") -> Answered:
    """Returns the answer to one request over a connection of its own.

    Args:
        address: of the server.
        body: JSON.
        read: bytes after which the client leaves; -1 stays to the end.
        path: where to ask.
    """
    host, port = address.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head.encode() + data)
        await writer.drain()
        if read >= 0:
            if read:
                await reader.read(read)
            return Answered(0, "", b"")
        got = await reader.read()
    except ConnectionError:
        return Answered(0, "", b"")
    finally:
        writer.close()
    front, _, rest = got.partition(b"\r\n\r\n")
    words = front.split(b" ", 2)
    return Answered(int(words[1]) if len(words) > 1 else 0, front.decode("latin-1").lower(), rest)
