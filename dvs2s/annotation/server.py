"""The web page's server: three addresses, the standard library, this machine only by default."""

import json
import logging
import random
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dvs2s.annotation.page import page
from dvs2s.annotation.sheet import Sheet
from dvs2s.annotation.store import LabelStore

logger = logging.getLogger("dvs2s")
_MOST_BYTES = 4096  # of a request: an annotator, an item, a label


class AnnotationServer(ThreadingHTTPServer):
    """Serves a sheet and stores labels.

    Limits: a request holds at most 4 KiB; there are no passwords, so whoever reaches the address
    may label under any name. It serves no other origin: the page's own requests only.

    Args:
        address: host and port; port 0 for any free one.
        sheet: what to judge.
        store: where labels go.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], sheet: Sheet, store: LabelStore) -> None:
        super().__init__(address, _Handler)
        self.sheet, self.store = sheet, store

    def items_of(self, annotator: str) -> list[dict[str, str]]:
        """Returns the items in this annotator's own order, the same every time."""
        items = [asdict(item) for item in self.sheet.items]
        random.Random(annotator).shuffle(items)
        return items


class _Handler(BaseHTTPRequestHandler):
    server: AnnotationServer
    timeout = 30  # seconds that a silent client holds a thread

    def do_GET(self) -> None:
        if self.path != "/":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})
            return
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", page().encode())

    def do_POST(self) -> None:
        try:
            body = self._body()
            match self.path:
                case "/items":
                    self._answer(HTTPStatus.OK, self._items(body))
                case "/label":
                    self.server.store.add(body["annotator"], body["item"], body["label"])
                    self._answer(HTTPStatus.OK, {"saved": True})
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})
        except (ValueError, KeyError, TypeError) as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except OSError as error:
            logger.error("a label was not saved: %s", error)
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"not saved: {error}"})

    def _items(self, body: dict[str, Any]) -> dict[str, Any]:
        annotator = body["annotator"]
        self.server.store.check_annotator(annotator)
        return {
            "items": self.server.items_of(annotator),
            "labels": self.server.store.of(annotator),
        }

    def _body(self) -> dict[str, Any]:
        # a form of another site cannot send this type without asking first, and is not allowed to
        if self.headers.get_content_type() != "application/json":
            raise ValueError("the request must be application/json")
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= _MOST_BYTES:
            raise ValueError(f"the request must hold 1 to {_MOST_BYTES} bytes, got {length}")
        body = json.loads(self.rfile.read(length))
        if not isinstance(body, dict) or not isinstance(body.get("annotator"), str):
            raise ValueError("the request must be an object with an annotator")
        return body

    def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(content, ensure_ascii=False).encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        policy = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
        self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)
