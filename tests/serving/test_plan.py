"""Requests become jobs: OpenAI's settings as ours, limits, refusals by name."""

from dataclasses import replace
from typing import Any

import pytest
from serving_fakes import INFO, PLAIN

from dvs2s.serving.errors import ApiError
from dvs2s.serving.options import ServerOptions
from dvs2s.serving.plan import Planner
from dvs2s.serving.schemas import ChatRequest, ReplyRequest
from dvs2s.serving.wire import Job

PLANNER = Planner([INFO, PLAIN], ServerOptions(max_characters=50, max_turns=6))


def chat(content: str = "hello", **fields: Any) -> Job:
    messages = fields.pop("messages", [{"role": "user", "content": content}])
    return PLANNER.chat_job(ChatRequest.model_validate({"messages": messages, **fields}), 1)


def reply(message: Any = "hello", **fields: Any) -> Job:
    return PLANNER.reply_job(ReplyRequest.model_validate({"message": message, **fields}), 1)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"kind": "greedy", "num_best": 1}),
        ({"temperature": 0}, {"kind": "greedy"}),
        ({"temperature": 0.5}, {"kind": "sampling", "temperature": 0.5, "top_p": 1.0}),
        ({"top_p": 0.5}, {"kind": "sampling", "temperature": 1.0, "top_p": 0.5}),
        ({"temperature": 1, "n": 3}, {"kind": "sampling", "num_best": 3}),
        ({"max_tokens": 5}, {"max_length": 5, "min_length": 1}),
        ({"max_completion_tokens": 5, "max_tokens": 9}, {"max_length": 5}),
        ({"max_tokens": 10**9}, {"max_length": INFO.search["max_length"]}),
        ({"search": {"kind": "beam", "num_best": 7, "beam": 9}}, {"beam": 9, "num_best": 7}),
        ({"search": {"kind": "beam"}, "n": 20}, {"beam": 20, "num_best": 20}),
    ],
)
def test_openais_settings_become_ours(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    search = chat(**fields).search
    assert {name: search[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n must be 1"),
        ({"n": 21, "temperature": 1}, "n may be"),
        ({"model": "gpt"}, "model"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"nonsense": 1}, "nonsense"),
        ({"stop": ["x"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"logit_bias": {"60": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"7": 101}}, "logit_bias"),
        ({"search": {"size": 19}}, "search.size"),
        ({"search": {"kind": "beam", "beam": 101}}, "search.beam"),
        ({"search": {"max_length": 201}}, "search.max_length"),
        ({"model": "plain", "search": {"vocabulary": "size"}}, "search.vocabulary"),
        ({"content": " \u200b\n"}, "messages"),
        ({"content": "x" * 51}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}] * 7}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as refusal:
        chat(**fields)
    assert param in (refusal.value.param or "") or param in refusal.value.message
    assert refusal.value.status == (404 if param == "model" else 400)


def test_what_makes_no_difference_is_accepted() -> None:
    harmless = {"user": "me", "frequency_penalty": 0.0, "tools": [], "tool_choice": "none"}
    assert chat(**harmless, response_format={"type": "text"}, logprobs=False).turns == ("hello",)


def test_the_model_gets_as_many_turns_as_it_reads() -> None:
    roles = ["system", "user", "assistant", "user", "assistant", "user"]
    messages = [{"role": role, "content": f"{i}"} for i, role in enumerate(roles)]
    assert chat(messages=messages).turns == ("3", "4", "5")
    assert chat(messages=messages, model="plain").turns == ("5",)
    parts = [{"role": "user", "content": [{"type": "text", "text": t} for t in "ab"]}]
    assert chat(messages=parts).turns == ("a b",)
    assert reply(["1", " ", "2"]).turns == ("1", "2")


def test_seeds_are_kept_and_otherwise_differ() -> None:
    assert chat(seed=7).seed == 7 and chat(seed=-1).seed == 2**64 - 1
    assert len({chat().seed for _ in range(20)}) == 20
    assert reply(seed=3).seed == 3


def test_bias_and_stop_reach_the_job() -> None:
    job = chat(logit_bias={"7": -100, "8": 2.5}, stop="end")
    assert job.bias == ((7, -100.0), (8, 2.5)) and job.stop == ("end",)
    assert Job.from_plain(job.plain()) == job


def test_guarantees_and_sources_are_of_models_that_have_them() -> None:
    calibrated = replace(INFO, guarantees=((0.1, "all", True),))
    planner = Planner([calibrated, PLAIN], ServerOptions())

    def planned(**fields: Any) -> Job:
        return planner.reply_job(ReplyRequest.model_validate({"message": "hi", **fields}), 1)

    wanted = {"vocabulary": "conformal", "coverage_alpha": 0.1}
    assert planned(search=wanted, sources=True).search["coverage_alpha"] == 0.1
    for search in ({**wanted, "coverage_alpha": 0.2}, {**wanted, "coverage_of": "share"}):
        with pytest.raises(ApiError, match="is calibrated for search.coverage_alpha of 0.1"):
            planned(search=search)
    with pytest.raises(ApiError, match="does not choose words: leave sources out"):
        planned(model="plain", sources=True)
    with pytest.raises(ApiError, match="forbid holds a star behind more than one word"):
        planned(forbid=["two words*"])
    assert planned(search={"kind": "diverse_beam", "beam": 4, "groups": 2}).search["groups"] == 2
