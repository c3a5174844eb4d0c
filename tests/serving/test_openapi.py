"""Generated requests against the API's own description; DVS2S_TEST_CASES asks for more of them."""

import os
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving_fakes import FakeEngine

from dvs2s.serving.app import create_app
from dvs2s.serving.options import ServerOptions

APP = create_app(FakeEngine(), ServerOptions())
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)
CASES = int(os.environ.get("DVS2S_TEST_CASES", "25"))
"""For each operation."""
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@SCHEMA.parametrize()
@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_generated_request_breaks_the_server_or_its_promises(case: Any) -> None:
    if isinstance(case.body, dict):
        case.body.pop("stream", None)  # its answer is no JSON; test_http reads it
    case.call_and_validate(checks=CHECKS)


def test_every_operation_is_described() -> None:
    description = APP.openapi()
    assert set(description["paths"]) == {
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{name}",
        "/v1/reply",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    for name in ("ChatRequest", "ReplyRequest"):
        assert description["components"]["schemas"][name]["examples"]
