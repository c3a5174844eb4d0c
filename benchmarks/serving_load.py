"""Load on the server over loopback: one client, many, ten times too many, far too many, one again.

    python benchmarks/serving_load.py --checkpoint runs/smalltalk --seconds 120 \
        --out benchmarks/results/serving.json

Several servers, by default the compiled engine in two precisions and the plain search, take turns,
so that what disturbs one disturbs all. Needs wrk and hey (Debian: ``apt-get install wrk hey``) and
psutil. wrk makes the load; hey, which notes every request's status and time, compares the waits of
those who are answered by 64 clients with those by 640. The load generator takes its share of the
same cores. Nothing is tuned to the machine; other jobs on it disturb the figures, so the load
average before and after is written down.
"""

import argparse
import csv
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
SEARCHES = {"beam": {"kind": "beam"}, "greedy": {"kind": "greedy"}}
SERVERS = "engine=compiled;engine=compiled precision=int8;engine=plain"


class Server:
    """The command in a process of its own.

    Args:
        checkpoint: folder of a run.
        options: further options, separated by blanks.
    """

    def __init__(self, checkpoint: str, options: str) -> None:
        self.options = options
        command = [sys.executable, str(HERE.parent / "serve.py"), f"checkpoint={checkpoint}"]
        self.process = subprocess.Popen(
            [*command, "port=0", *options.split()],
            cwd=HERE.parent,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.address = ""
        self.is_ready = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self.is_ready.wait(120):
            self.end()
            raise SystemExit(f"the server {options} was not ready after two minutes")

    def end(self) -> int:
        """Ends it and returns its exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            found = re.search(r"http://[\d.]+:\d+", line)
            self.address = self.address or (found[0] if found else "")
            if line.strip() == "ready":
                self.is_ready.set()

    def memory(self) -> float:
        """Returns MiB of it and its engine."""
        parent = psutil.Process(self.process.pid)
        family = [parent, *parent.children(recursive=True)]
        return round(sum(p.memory_info().rss for p in family) / 2**20, 1)

    def metric(self, name: str) -> float:
        """Returns one unlabelled figure of /metrics."""
        text = urllib.request.urlopen(f"{self.address}/metrics", timeout=30).read().decode()
        return float(re.search(rf"^dvs2s_{name} (\S+)", text, flags=re.MULTILINE)[1])  # type: ignore[index]

    def ask(self) -> float:
        """Returns the seconds of one request."""
        request = urllib.request.Request(
            f"{self.address}/v1/reply",
            data=b'{"message":"hello","lens":0}',
            headers={"Content-Type": "application/json"},
        )
        start = time.perf_counter()
        urllib.request.urlopen(request, timeout=30).read()
        return time.perf_counter() - start


def load(server: Server, clients: int, seconds: int, search: dict[str, Any]) -> dict[str, Any]:
    """Returns what wrk saw, with memory and batch size."""
    memory = [server.memory()]
    ending = threading.Event()

    def watch() -> None:
        while not ending.wait(2):
            memory.append(server.memory())

    thread = threading.Thread(target=watch)
    thread.start()
    before = {n: server.metric(n) for n in ("batch_size_sum", "batch_size_count", "tokens_total")}
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s"]
    command += ["-s", str(HERE / "serving_load.lua"), server.address]
    environment = {**os.environ, "SEARCH": json.dumps(search)}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    ending.set()
    thread.join()
    line = next(x for x in ran.stdout.splitlines() if x.startswith("JSON "))
    row: dict[str, Any] = {"server": server.options, "clients": clients, "search": search["kind"]}
    row |= json.loads(line.removeprefix("JSON "))
    after = {name: server.metric(name) for name in before}
    delta = {name: after[name] - before[name] for name in before}
    answered = row["statuses"].get("200", 0)
    row["replies_per_second"] = round(answered / row["seconds"], 1)
    row["words_per_second"] = round(delta["tokens_total"] / row["seconds"])
    row["mean_batch"] = round(delta["batch_size_sum"] / max(1, delta["batch_size_count"]), 1)
    quarter = max(1, len(memory) // 4)
    row["memory_mib"] = {"start": memory[0], "quarter": memory[quarter], "end": memory[-1]}
    return row


def waits(server: Server, clients: int, seconds: int, search: dict[str, Any]) -> dict[str, Any]:
    """Returns how long those waited whom hey saw answered, and those who were refused."""
    body = json.dumps({"message": "do you like coffee ?", "lens": 0, "search": search})
    command = ["hey", *f"-z {seconds}s -c {clients} -t 30 -m POST -o csv".split()]
    command += ["-T", "application/json", "-d", body, f"{server.address}/v1/reply"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    times: dict[str, list[float]] = {}
    for line in csv.DictReader(ran.stdout.splitlines()):
        times.setdefault(line["status-code"], []).append(1e3 * float(line["response-time"]))
    row: dict[str, Any] = {"server": server.options, "clients": clients, "search": search["kind"]}
    row |= {"generator": "hey", "seconds": seconds}
    row["statuses"] = {status: len(some) for status, some in times.items()}
    row["replies_per_second"] = round(len(times["200"]) / seconds, 1)
    for status, some in times.items():
        cuts = statistics.quantiles(some, n=100)
        row |= {f"p50_of_{status}": round(cuts[49], 1), f"p99_of_{status}": round(cuts[98], 1)}
    return row


def phases(servers: list[Server], search: dict[str, Any], seconds: int) -> list[dict[str, Any]]:
    """Returns the rows of one search: every server in turn, before the number of clients rises."""
    rows: list[dict[str, Any]] = []
    alone: dict[str, float] = {}
    for server in servers:
        load(server, 4, 5, search)  # warm up
    for server in servers:
        rows.append(load(server, 1, max(10, seconds // 6), search))
        alone[server.options] = rows[-1]["replies_per_second"]
    for server in servers:
        rows.append(load(server, 64, seconds, search))
        ratio = rows[-1]["replies_per_second"] / alone[server.options]
        rows[-1]["times_one_client"] = round(ratio, 1)
    for server in servers:
        rows.append(waits(server, 64, max(10, seconds // 6), search))
        held = rows[-1]["p99_of_200"]
        rows.append(waits(server, 640, max(10, seconds // 6), search))
        rows[-1]["p99_times_64_clients"] = round(rows[-1]["p99_of_200"] / held, 2)
        rows[-1]["next_request_seconds"] = round(server.ask(), 3)
    for server in servers:
        rows.append(load(server, 1000, max(10, seconds // 4), search))
        rows[-1]["next_request_seconds"] = round(server.ask(), 3)
        rows[-1]["queue_after"] = server.metric("queued")
    return rows


def main() -> None:
    """Runs all phases and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="runs/smalltalk")
    parser.add_argument("--seconds", type=int, default=120, help="of the phase with 64 clients")
    parser.add_argument("--threads", type=int, default=1, help="of the engine")
    parser.add_argument("--servers", default=SERVERS, help="options of each, separated by ;")
    parser.add_argument("--out", default="")
    arguments = parser.parse_args()
    for tool in ("wrk", "hey"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is missing: apt-get install wrk hey")
    loads = [os.getloadavg()[0]]
    servers: list[Server] = []
    rows: list[dict[str, Any]] = []
    try:
        for options in arguments.servers.split(";"):
            servers.append(Server(arguments.checkpoint, f"threads={arguments.threads} {options}"))
        for search in SEARCHES.values():
            rows += phases(servers, search, arguments.seconds)
            print(*(json.dumps(row) for row in rows), sep="\n", file=sys.stderr)
    finally:
        codes = [server.end() for server in servers]
    loads.append(os.getloadavg()[0])
    report = {
        "rows": rows,
        "exit_codes": codes,
        "load_average": [round(x, 1) for x in loads],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        Path(arguments.out).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
