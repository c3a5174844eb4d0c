"""The server over real sockets: OpenAI's client, bad input, limits, people who leave."""

import contextlib
import json
import random
import re
import socket
import ssl
import threading
import time
from typing import Any

import httpx
import openai
import pytest
from serving_fakes import FakeEngine, Serve, serving

from dvs2s.serving.app import create_app
from dvs2s.serving.options import ServerOptions

TLS = ssl.create_default_context()  # never used, but dear to make for each request
HELLO = {"messages": [{"role": "user", "content": "hello"}]}


def post(
    address: str, body: Any, path: str = "/v1/chat/completions", **kwargs: Any
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", **kwargs.pop("headers", {})}
    return httpx.post(
        address + path, content=content, headers=headers, **{"timeout": 60, "verify": TLS, **kwargs}
    )


def client(address: str, **kwargs: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, **kwargs)


def test_an_engine_that_cannot_start_is_said_at_once(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeEngine):
        async def start(self) -> None:
            raise ValueError("unexpected kwargs")

    broken = Broken()
    broken.why_not = "the model is loading"
    with serving(create_app(broken, ServerOptions())) as address:
        assert httpx.get(f"{address}/readyz", verify=TLS).status_code == 503
        assert "the engine does not start: unexpected kwargs" in caplog.text
    told: list[Exception] = []
    with serving(create_app(broken, ServerOptions(), on_failure=told.append)):
        pass
    assert [type(error) for error in told] == [ValueError]


def test_openais_client_gets_whole_and_streamed_replies(serve: Serve) -> None:
    with client(serve()) as api:
        assert [m.id for m in api.models.list()] == ["echo", "plain"]
        assert api.models.retrieve("plain").id == "plain"
        messages: Any = [{"role": "user", "content": "hello there"}]
        whole = api.chat.completions.create(model="echo", messages=messages)
        assert whole.choices[0].message.content == "you said hello there"
        assert whole.choices[0].finish_reason == "stop"
        assert whole.usage is not None and whole.usage.completion_tokens == 4
        chunks = list(
            api.chat.completions.create(
                model="echo",
                messages=messages,
                stream=True,
                stream_options={"include_usage": True},
                temperature=0.7,
                extra_body={"search": {"size": 30}},
            )
        )
        deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
        assert deltas[0].role == "assistant"
        assert [d.content for d in deltas if d.content] == ["you", " said", " hello", " there"]
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 7
        several = api.chat.completions.create(model="echo", messages=messages, n=3, temperature=1)
        assert [choice.index for choice in several.choices] == [0, 1, 2]
        streamed = api.chat.completions.create(
            model="echo", messages=messages, n=2, temperature=1, stream=True
        )
        told = [c.choices[0] for c in streamed if c.choices[0].delta.content]
        assert [(c.index, c.delta.content) for c in told] == [
            (0, "you said hello there"),
            (1, "you said hello there"),
        ]
        with pytest.raises(openai.NotFoundError, match="no such model"):
            api.chat.completions.create(model="gpt-9", messages=messages)
        with pytest.raises(openai.BadRequestError, match="presence_penalty"):
            api.chat.completions.create(model="echo", messages=messages, presence_penalty=1.0)


def test_a_reply_tells_everything(serve: Serve) -> None:
    address = serve()
    answer = post(address, {"message": "hello", "lens": 5}, "/v1/reply").json()
    assert answer["replies"][0]["text"] == "you said hello"
    assert answer["vocabulary"]["size"] == 5 and answer["vocabulary"]["total"] == 60
    assert set(answer["seconds"]) >= {"queue", "encode", "predict", "select", "search", "total"}
    streamed = post(address, {"message": "hello", "stream": True}, "/v1/reply")
    assert streamed.headers["content-type"].startswith("text/event-stream")
    kinds = re.findall(r"^event: (\w+)$", streamed.text, flags=re.MULTILINE)
    assert kinds == ["words", "text", "text", "text", "done"]


def deep(levels: int) -> bytes:
    return b'{"messages":' + b"[" * levels + b"]" * levels + b"}"


def user(content: str) -> bytes:
    return b'{"messages":[{"role":"user","content":"' + content.encode() + b'"}]}'


REFUSED = {
    "nothing": b"",
    "no JSON": b"hello",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "no messages": b"{}",
    "empty messages": b'{"messages":[]}',
    "an empty message": user(""),
    "blanks": user("  \\n\\t "),
    "only controls": user("\\u0000\\u0007\\u200b"),
    "a lone surrogate": user("\\ud800"),
    "invalid UTF-8": b'{"messages":[{"role":"user","content":"\xff\xfe"}]}',
    "a number too large": b'{"messages":[{"role":"user","content":"x"}],"temperature":1e400}',
    "NaN": b'{"messages":[{"role":"user","content":"x"}],"temperature":NaN}',
    "negative": b'{"messages":[{"role":"user","content":"x"}],"temperature":-1}',
    "a huge whole number": b'{"messages":[{"role":"user","content":"x"}],"n":' + b"9" * 300 + b"}",
    "zero tokens": b'{"messages":[{"role":"user","content":"x"}],"max_tokens":0}',
    "fewer than zero tokens": b'{"messages":[{"role":"user","content":"x"}],"max_tokens":-1}',
    "a bias that is no number": b'{"messages":[{"role":"user","content":"x"}],'
    b'"logit_bias":{"9":NaN}}',
    "a bias of no word": b'{"messages":[{"role":"user","content":"x"}],"logit_bias":{"-1":1}}',
    "a picture": b'{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}',
    "a text for a number": b'{"messages":[{"role":"user","content":"x"}],"n":"2"}',
    "true for a number": b'{"messages":[{"role":"user","content":"x"}],"n":true}',
    "an unknown role": b'{"messages":[{"role":"king","content":"x"}]}',
    "a number for a message": b'{"messages":[{"role":"user","content":1}]}',
    "deep nesting": deep(100_000),
    "less deep nesting": deep(500),
    "ten thousand turns": b'{"messages":['
    + b'{"role":"user","content":"x"},' * 9_999
    + b'{"role":"user","content":"x"}]}',
    "a long message": user("x" * 4001),
    "an odd field": b'{"messages":[{"role":"user","content":"x"}],"\\u0000\\ud800":1}',
}
ACCEPTED = {
    "bidi overrides": user("\\u202e abc \\u2066"),
    "Arabic": user("مرحبا"),
    "a family": user("👨‍👩‍👧"),
    "combining marks": user("e" + "\u0301" * 1000),
    "special words": user("<unk> </s> <pad> <s>"),
    "markup": user("<script>alert(1)</script>"),
    "more tokens than there are": b'{"messages":[{"role":"user","content":"x"}],"max_tokens":'
    + b"9" * 15
    + b"}",
    "a seed below zero": b'{"messages":[{"role":"user","content":"x"}],"seed":-5}',
    "duplicate keys": b'{"messages":[],"messages":[{"role":"user","content":"x"}]}',
    "four thousand characters": user("x" * 4000),
    "a long history": b'{"messages":['
    + b'{"role":"user","content":"x"},' * 500
    + b'{"role":"user","content":"x"}]}',
}


def test_bad_input_gets_a_clear_no_and_the_next_request_is_served(
    serve: Serve, engine: FakeEngine
) -> None:
    address = serve(max_body=1_000_000)
    for name, body in REFUSED.items():
        answer = post(address, body)
        assert answer.status_code == 400, f"{name}: {answer.status_code} {answer.text}"
        error = answer.json()["error"]
        assert error["message"] and error["type"] == "invalid_request_error", name
        assert answer.content.isascii() and len(answer.content) < 500, name
    for name, body in ACCEPTED.items():
        answer = post(address, body)
        assert answer.status_code == 200, f"{name}: {answer.status_code} {answer.text}"
    assert not engine.running
    text = httpx.get(address + "/metrics").text
    assert (
        f'dvs2s_requests_total{{route="/v1/chat/completions",status="400"}} {len(REFUSED)}.0'
        in text
    )
    assert 'status="5' not in text


@pytest.mark.parametrize(
    ("path", "given", "param", "said"),
    [
        ("chat/completions", {"temperature": 3}, "temperature", "less than or equal to 2"),
        ("chat/completions", {"search": {"sizes": 9}}, "search.sizes", "not permitted"),
        ("chat/completions", {"n": 21}, "n", "at most 20"),
        ("chat/completions", {"n": 2, "temperature": 0}, "n", "temperature above 0"),
        ("reply", {"search": {"vocabulary": "conformal"}}, "search.vocabulary", "not calibrated"),
        ("completions", {}, None, "/docs"),
    ],
)
def test_a_refusal_names_the_field_that_was_sent(
    serve: Serve, path: str, given: dict[str, Any], param: str | None, said: str
) -> None:
    says = (
        {"message": "hi"} if path == "reply" else {"messages": [{"role": "user", "content": "hi"}]}
    )
    answer = httpx.post(f"{serve()}/v1/{path}", json={**says, **given})
    error = answer.json()["error"]
    assert (answer.status_code // 100, error["param"]) == (4, param) and said in error["message"]


def test_a_body_without_its_type_is_told_which_header_is_missing(serve: Serve) -> None:
    answer = httpx.post(f"{serve()}/v1/reply", data={"message": "hi"})  # as curl -d sends it
    assert answer.status_code == 400
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


def test_bodies_have_a_limit_whatever_they_declare(serve: Serve, engine: FakeEngine) -> None:
    address = serve(max_body=2000)
    assert post(address, b"x" * 1_000_000).status_code == 413
    with httpx.Client() as session:  # in chunks, without a length
        answer = session.post(
            address + "/v1/reply",
            content=(b" " * 500 for _ in range(1000)),
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 413 and "2000 bytes" in answer.json()["error"]["message"]
    assert post(address, HELLO).status_code == 200
    assert len(engine.jobs) == 1


def raw(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def request(body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = "POST /v1/reply HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {size}\r\n\r\n".encode() + body


def read_all(connection: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            data += chunk
    return data


def test_whoever_is_slow_or_odd_is_cut_off_and_others_are_served(serve: Serve) -> None:
    address = serve(read_seconds=1.0)
    silent, dripping, slow_body, second = (raw(address) for _ in range(4))
    dripping.send(b"GET / HT")
    slow_body.send(request(b'{"mess', 100))
    second.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /he")
    for bad in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\nHost: x\r\n\r\n"):
        with raw(address) as connection:
            connection.send(bad)
            assert b" 400 " in read_all(connection).split(b"\r\n")[0]
    with raw(address) as endless:
        with contextlib.suppress(ConnectionError):
            for piece in (b"GET / HTTP/1.1\r\nX: ", *[b"a" * 11_000] * 6):
                endless.sendall(piece)
        assert read_all(endless).startswith(b"HTTP/1.1 400 ")
    assert post(address, HELLO).status_code == 200
    assert read_all(silent) == read_all(dripping) == b""
    assert b"408" in read_all(slow_body).split(b"\r\n")[0]
    assert b'"status":"ok"' in read_all(second)
    with raw(address) as half:
        half.sendall(request(b'{"message":"hello"}'))
        half.shutdown(socket.SHUT_WR)
        read_all(half)  # closed, with or without an answer
    assert post(address, HELLO).status_code == 200
    for connection in (silent, dripping, slow_body, second):
        connection.close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_place(
    serve: Serve, engine: FakeEngine, stream: bool
) -> None:
    engine.delay = 30.0
    address = serve()
    body = json.dumps({"message": "one two three", "stream": stream}).encode()
    connections = [raw(address) for _ in range(50)]
    for connection in connections:
        connection.sendall(request(body))
    end = time.monotonic() + 60
    while len(engine.running) < 50:
        assert time.monotonic() < end, f"only {len(engine.running)} arrived"
        time.sleep(0.01)
    for connection in connections:
        connection.close()
    engine.wait_until_free()
    assert httpx.get(address + "/readyz").status_code == 200


def test_five_hundred_dropped_streams_leave_nothing(serve: Serve, engine: FakeEngine) -> None:
    engine.delay = 0.002
    address, chance = serve(), random.Random(0)
    body = json.dumps({"message": "a b c d e f g h", "stream": True}).encode()

    def drop(count: int) -> None:
        for _ in range(count):
            with raw(address) as connection:
                connection.sendall(request(body))
                for _ in range(chance.randrange(3)):
                    connection.recv(chance.randrange(1, 300))

    threads = [threading.Thread(target=drop, args=(50,)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.wait_until_free()
    answer = post(address, {"message": "still here"}, "/v1/reply").json()
    assert answer["replies"][0]["text"] == "you said still here"


def test_too_much_is_refused_with_the_time_to_come_back(serve: Serve, engine: FakeEngine) -> None:
    engine.delay, engine.capacity = 0.3, 3
    address = serve()
    statuses: list[int] = []

    def ask() -> None:
        answer = post(address, HELLO, timeout=60)
        statuses.append(answer.status_code)
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == "queue_full"

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(statuses)) == [200, 429] and statuses.count(200) >= 3
    assert post(address, HELLO).status_code == 200


def test_not_ready_is_503_and_a_broken_stream_says_so(serve: Serve, engine: FakeEngine) -> None:
    address = serve()
    assert httpx.get(address + "/readyz").json() == {"status": "ready", "reason": ""}
    engine.why_not = "the model is loading"
    ready = httpx.get(address + "/readyz")
    assert (ready.status_code, ready.json()["reason"]) == (503, "the model is loading")
    assert httpx.get(address + "/healthz").status_code == 200
    refused = post(address, HELLO)
    assert refused.status_code == 503 and refused.headers["retry-after"]
    engine.why_not, engine.fail_at = "", 2
    assert post(address, HELLO).status_code == 503
    broken = post(address, {"message": "a b c", "stream": True}, "/v1/reply")
    assert broken.status_code == 200
    assert "event: error" in broken.text and "event: done" not in broken.text
    engine.wait_until_free()


def test_a_key_is_asked_for_by_all_but_pages_and_probes(serve: Serve) -> None:
    address = serve(key="sesame")
    for path in ("/", "/static/chat.js", "/healthz", "/readyz", "/docs", "/openapi.json"):
        assert httpx.get(address + path).status_code == 200, path
    for key in ("", "Bearer", "Bearer sesam", "Bearer sesame1", "Basic sesame", "Bearer \xe9"):
        headers = {"authorization": key.encode("latin-1")} if key else {}
        for path in ("/v1/models", "/metrics", "/nowhere"):
            answer = httpx.get(address + path, headers=headers)
            assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
    assert httpx.get(address + "/v1/models", headers={"authorization": "Bearer sesame"}).is_success


def test_headers_and_addresses_are_safe(serve: Serve) -> None:
    address = serve()
    page = httpx.get(address + "/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert (
        httpx.get(address + "/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
    )
    given = httpx.get(address + "/", headers={"x-request-id": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    odd = httpx.get(address + "/", headers={"x-request-id": 'a"b\t<'})
    assert re.fullmatch("[0-9a-f]{16}", odd.headers["x-request-id"])
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/"):
        with raw(address) as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            )
            assert b" 404 " in read_all(connection).split(b"\r\n")[0], path
    crossing = httpx.options(
        address + "/v1/reply",
        headers={"origin": "https://elsewhere.org", "access-control-request-method": "POST"},
    )
    assert "access-control-allow-origin" not in crossing.headers


def test_pages_ask_nobody_else_and_hold_no_inline_code() -> None:
    from dvs2s.serving.pages import pages

    found = pages()
    assert {"/", "/bench", "/docs", "/static/chat.js", "/static/style.css"} <= set(found)
    for address, (content, _) in found.items():
        text = content.decode("utf-8").replace("http://www.w3.org/", "")
        assert "http://" not in text and "https://" not in text, address
        assert "innerHTML" not in text and "eval(" not in text, address
        if text.startswith("<!doctype"):
            assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=", text), address


def test_a_thousand_addresses_make_no_thousand_counters(serve: Serve) -> None:
    address = serve()
    with httpx.Client(base_url=address, verify=TLS) as api:
        for number in range(30):
            assert api.get(f"/nowhere/{number}").status_code == 404
            assert api.get(f"/v1/models/{number}").status_code == 404
            assert api.request(f"ODD{number}", "/v1/reply").status_code == 400
            assert api.delete("/v1/reply").status_code == 405
        counters = re.findall(r"^dvs2s_requests_total\{(.*)\}", api.get("/metrics").text, re.M)
    assert len(counters) == 3, counters


def logged(caplog: pytest.LogCaptureFixture, count: int) -> list[dict[str, Any]]:
    """Returns the lines once there are so many: they are written after the answer."""
    end = time.monotonic() + 60
    while True:
        lines = [r.getMessage() for r in caplog.records if r.name == "dvs2s.requests"]
        if len(lines) >= count:
            return [json.loads(line) for line in lines]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_logs_hold_no_text_unless_asked(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="dvs2s.requests")
    private = {"message": "my secret\n\u001b[31m word"}
    post(serve(), private, "/v1/reply")
    entries = logged(caplog, 1)
    assert entries[-1]["route"] == "/v1/reply" and entries[-1]["status"] == 200
    assert entries[-1]["words"] == 6 and "search" in entries[-1]["stages"]
    assert "secret" not in caplog.text
    post(serve(log_text=True), private, "/v1/reply")
    logged(caplog, 2)
    assert "secret" in caplog.text
    assert "\u001b" not in caplog.text
