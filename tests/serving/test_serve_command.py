"""``python serve.py`` as a person starts it: says where it is, answers, ends in order."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from served import Served, gone
from served import ask as served_ask

from dvs2s.cli import serve
from dvs2s.cli.configs import ServeConfig
from dvs2s.cli.default_model import train_default
from dvs2s.cli.serve import check_address
from dvs2s.errors import CheckpointError, ConfigError
from dvs2s.serving.options import ServerOptions

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def served(tiny_run: Path) -> Iterator[Served]:
    made = Served(f"checkpoint={tiny_run}", "search.kind=greedy", "search.max_length=13")
    yield made
    made.close()


def test_it_answers_reloads_and_ends_in_order(served: Served) -> None:
    address = served.wait_for(r"(http://127\.0\.0\.1:\d+)")
    served.wait_for("ready")
    assert "fp32 on cpu" in "".join(served.lines) and "kernels" in "".join(served.lines)
    body = {"message": "the w0_1 is here", "seed": 5, "search": {"kind": "sampling"}}
    first = httpx.post(address + "/v1/reply", json=body, timeout=60).json()
    assert first["replies"][0]["text"] and first["vocabulary"]["size"] <= 40

    answers: list[str] = []
    stopping = threading.Event()

    def ask() -> None:
        while not stopping.is_set():
            answers.append(
                httpx.post(address + "/v1/reply", json=body, timeout=60).json()["replies"][0][
                    "text"
                ]
            )

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    engine = served.family()[1]
    served.process.send_signal(signal.SIGHUP)
    served.wait_for("reloaded: ")
    stopping.set()
    for thread in asking:
        thread.join()
    assert set(answers) == {first["replies"][0]["text"]}, "same seed, same request, same reply"
    assert gone([engine]), "the former engine is still there"

    family = served.family()
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(60) == 0
    assert gone(family)
    with pytest.raises(httpx.ConnectError):
        httpx.get(address + "/healthz")
    requests = [json.loads(line) for line in served.lines if line.startswith('{"id"')]
    assert all(entry["status"] == 200 for entry in requests)


def test_what_is_at_work_is_finished_on_sigterm_and_a_kill_leaves_no_orphan(
    served: Served, tiny_run: Path
) -> None:
    address = served.wait_for(r"(http://127\.0\.0\.1:\d+)")
    served.wait_for("ready")
    family = served.family()
    assert len(family) == 2
    # Thousands of samples keep the engine busy while the signal comes.
    work = {"message": "hello", "search": {"kind": "sampling", "num_best": 20, "max_length": 200}}
    statuses: list[int] = []

    def ask() -> None:
        try:
            statuses.append(httpx.post(address + "/v1/reply", json=work, timeout=60).status_code)
        except (httpx.ConnectError, httpx.RemoteProtocolError):
            statuses.append(503)  # on a busy machine a request may arrive after the signal

    asking = [threading.Thread(target=ask) for _ in range(20)]
    for thread in asking:
        thread.start()
    end = time.monotonic() + 60
    running = 0.0
    while not running and not statuses:
        assert time.monotonic() < end
        shown = re.search(r"^dvs2s_running (\S+)$", httpx.get(address + "/metrics").text, re.M)
        assert shown is not None
        running = float(shown[1])
    served.process.send_signal(signal.SIGTERM)
    for thread in asking:
        thread.join()
    assert set(statuses) <= {200, 503} and statuses.count(200) >= max(running, 1)
    assert served.process.wait(60) == 0 and gone(family)

    killed = Served(f"checkpoint={tiny_run}")
    killed.wait_for("ready")
    family = killed.family()
    killed.process.kill()
    assert gone(family)
    killed.close()


def test_ctrl_c_ends_quietly_while_it_loads_and_while_it_answers(tiny_run: Path) -> None:
    loading = Served(f"checkpoint={tiny_run}")
    end = time.monotonic() + 60
    while len(loading.family()) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.2)  # the engine's process imports
    family = loading.family()
    loading.press_ctrl_c()
    assert loading.process.wait(60) == 0 and gone(family)
    loading.close()
    assert "Traceback" not in "".join(loading.lines)

    busy = Served(f"checkpoint={tiny_run}")
    address = busy.wait_for(r"(http://127\.0\.0\.1:\d+)")
    busy.wait_for("ready")
    work = {"message": "hello", "search": {"kind": "sampling", "num_best": 20, "max_length": 200}}

    async def leave_unanswered() -> None:
        asking = [asyncio.create_task(served_ask(address, work)) for _ in range(30)]
        await asyncio.sleep(0.3)
        busy.press_ctrl_c()
        await asyncio.sleep(0.1)
        busy.press_ctrl_c()
        await asyncio.gather(*asking)

    asyncio.run(leave_unanswered())
    assert busy.process.wait(60) == 0
    busy.close()
    assert "Traceback" not in "".join(busy.lines)


def test_a_taken_port_is_told_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}.*port=0 for any free one"):
            check_address("127.0.0.1", port)
    check_address("127.0.0.1", port)
    with pytest.raises(ConfigError, match="give host=127.0.0.1"):
        check_address("192.0.2.1", 0)  # an address for documentation: nobody's


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["checkpoint=runs/nowhere"], "runs/nowhere does not exist"),
        (["server.max_queu=1"], "did you mean 'server.max_queue'"),
        (["host="], "0.0.0.0 is all of this machine's"),
        (["checkpoint=docs", "port=0"], "no best checkpoint in"),
    ],
)
def test_a_wrong_start_is_explained(arguments: list[str], said: str) -> None:
    command = [sys.executable, str(ROOT / "serve.py"), *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.count(said) == 1 and "Traceback" not in ended.stderr


def test_a_wrong_search_is_told_before_the_default_model_is_trained(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "serve.py"), "port=0", "search.num_best=21"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2 and "at most search.beam=20, got 21" in ended.stderr
    assert not list(tmp_path.iterdir())  # neither trained nor begun


def test_a_missing_default_model_is_trained_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, trained = iter([3, 0]), list[int]()

    def training() -> None:
        trained.append(next(codes))
        train_default((sys.executable, "-c", f"raise SystemExit({trained[-1]})"))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serve, "train_default", training)
    with pytest.raises(CheckpointError, match="ended with code 3: start again"):
        serve.check_checkpoint(ServeConfig())
    serve.check_checkpoint(ServeConfig())  # goes on where the folder is there, but unfinished
    serve.check_checkpoint(ServeConfig())
    with pytest.raises(CheckpointError, match="runs/other does not exist"):
        serve.check_checkpoint(ServeConfig(checkpoint="runs/other"))
    assert trained == [3, 0]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_stopping_while_the_default_model_is_trained_lets_it_save(
    name: str, tmp_path: Path
) -> None:
    training = (
        "import signal, sys, time\n"
        "def save(number, frame):\n"
        "    print('saved', flush=True)\n"
        "    sys.exit(75)\n"
        f"signal.signal(signal.{name}, save)\n"
        "print('training', flush=True)\n"
        "time.sleep(60)"
    )
    front = (
        "import sys\n"
        "from dvs2s.cli.default_model import train_default\n"
        "from dvs2s.errors import Interrupted\n"
        "try:\n"
        f"    train_default((sys.executable, '-c', {training!r}))\n"
        "except Interrupted as error:\n"
        "    print(error, file=sys.stderr)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", front], cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"training\n"
        # as a terminal does: to everyone in the foreground
        os.killpg(process.pid, getattr(signal, name))
        said = process.stderr.read().decode()
    assert said == "saved\ntraining the default model was stopped: start again to go on with it\n"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ServeConfig(port=99999), "port must lie in 0..65535"),
        (lambda: ServeConfig(precision="int3"), "one of fp32, bf16"),
        (lambda: ServerOptions(max_queue=0), "server.max_queue must be at least 1"),
        (lambda: ServerOptions(request_seconds=float("nan")), "server.request_seconds must be"),
        (lambda: ServerOptions(batch_wait=2), "server.batch_wait must lie in 0..1"),
        (lambda: ServerOptions(cors="*"), "server.cors must list origins"),
    ],
)
def test_options_out_of_range_are_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        make()


def test_the_front_process_does_without_torch() -> None:
    code = (
        "import sys, dvs2s.cli.serve, dvs2s.serving.app, dvs2s.serving.engine, dvs2s.serving.http\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
