"""The Ray Serve deployment answers; skipped where Ray is not installed."""

import json
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="needs ray[serve]: pip install 'ray[serve]'")


# Ray leaves sockets and threads of its own behind.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_a_replica_answers(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray import serve

    from dvs2s.serving.ray_app import deployment

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"DVS2S_CHECKPOINT": str(tiny_run), "DVS2S_THREADS": "1"}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": variables})
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(deployment)
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"{address}/readyz", timeout=5)
                break
            except urllib.error.HTTPError as error:  # 503 while the engine loads
                assert error.code == 503 and time.monotonic() < end
                time.sleep(0.5)
        request = urllib.request.Request(
            f"{address}/v1/reply",
            data=b'{"message": "the w0_1 is here"}',
            headers={"Content-Type": "application/json"},
        )
        answer = json.loads(urllib.request.urlopen(request, timeout=30).read())
        assert answer["replies"][0]["text"] and answer["model"] == "tiny"
    finally:
        serve.shutdown()
        ray.shutdown()
