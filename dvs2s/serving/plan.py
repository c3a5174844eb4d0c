"""From a request to a job: limits, names, and what the model can and cannot do."""

import secrets
import unicodedata
from collections.abc import Sequence
from typing import Any

from dvs2s.config import SearchConfig
from dvs2s.errors import ConfigError
from dvs2s.serving.errors import ApiError
from dvs2s.serving.options import ServerOptions
from dvs2s.serving.schemas import ChatRequest, ReplyRequest
from dvs2s.serving.wire import Job, ModelInfo

# Accepted and of no consequence: they steer billing, storage and caches that are not here.
_WITHOUT_EFFECT = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls",
}
# Accepted with the one value that asks for what we do anyway.
_ONLY = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
}
_MOST_STOPS, _LONGEST_STOP, _MOST_BIASES = 4, 100, 300


class Planner:
    """Makes jobs.

    Args:
        models: the default first.
        options: limits.
    """

    def __init__(self, models: Sequence[ModelInfo], options: ServerOptions) -> None:
        self._models = {info.name: info for info in models}
        self._options = options

    def model(self, name: str | None) -> ModelInfo:
        """Returns the model of that name, the default for none.

        Raises:
            ApiError: 404, there is no such model.
        """
        if not name:
            return next(iter(self._models.values()))
        if name not in self._models:
            there = ", ".join(self._models)
            raise ApiError(
                f"there is no such model here: use {there}",
                status=404,
                param="model",
                code="model_not_found",
            )
        return self._models[name]

    def reply_job(self, request: ReplyRequest, job_id: int) -> Job:
        """Returns the job of a request to ``/v1/reply``.

        Raises:
            ApiError: it asks for what is out of range.
        """
        info = self.model(request.model)
        turns = [request.message] if isinstance(request.message, str) else request.message
        search = self._search(info, request.search.model_dump(exclude_none=True))
        if request.sources and not info.predicts:
            raise ApiError(f"{info.name} does not choose words: leave sources out", param="sources")
        for name, words in (("allow", request.allow), ("forbid", request.forbid)):
            if any(len(word) > self._options.max_characters for word in words):
                raise ApiError(f"{name} holds a text that is too long: list words", param=name)
            if any("*" in word and len(word.split()) > 1 for word in words):
                raise ApiError(f"{name} holds a star behind more than one word", param=name)
        return Job(
            id=job_id,
            model=info.name,
            turns=self._turns(turns, info, "message"),
            search=search,
            seed=_seed(request.seed),
            allow=tuple(request.allow),
            forbid=tuple(request.forbid),
            stream=request.stream,
            lens=request.lens,
            sources=request.sources,
        )

    def chat_job(self, request: ChatRequest, job_id: int) -> Job:
        """Returns the job of a request to ``/v1/chat/completions``.

        Raises:
            ApiError: it asks for what is out of range, or for what this model cannot do.
        """
        _refuse_unknown(request.model_extra or {})
        info = self.model(request.model)
        if request.messages[-1].role != "user":
            raise ApiError("the last message must be the user's", param="messages")
        turns = [_text(m.content) for m in request.messages if m.role in ("user", "assistant")]
        return Job(
            id=job_id,
            model=info.name,
            turns=self._turns(turns, info, "messages"),
            search=self._search(info, self._chat_search(request, info)),
            seed=_seed(request.seed),
            bias=_bias(request.logit_bias or {}, info),
            stop=_stops(request.stop),
            stream=bool(request.stream),
        )

    def _chat_search(self, request: ChatRequest, info: ModelInfo) -> dict[str, Any]:
        """Returns OpenAI's settings as ours."""
        given = request.search.model_dump(exclude_none=True) if request.search else {}
        if request.temperature == 0:
            given["kind"] = "greedy"
        elif request.temperature is not None or request.top_p is not None:
            given["kind"] = "sampling"
            given["temperature"] = request.temperature or 1.0
        if request.top_p is not None:
            given["top_p"] = request.top_p
        lengths = [n for n in (request.max_tokens, request.max_completion_tokens) if n is not None]
        if lengths:
            base = {**info.search, **given}
            most = min([*lengths, base["max_length"]])
            given["max_length"] = most
            given["min_length"] = min(base["min_length"], most)
        if request.n is not None:
            if request.n > self._options.max_replies:
                raise ApiError(
                    f"n may be at most {self._options.max_replies} on this server", param="n"
                )
            if request.n > 1 and given.get("kind", info.search["kind"]) == "greedy":
                raise ApiError(
                    "n must be 1 for greedy search, which has one reply: give a temperature above "
                    "0, or search.kind=beam without one",
                    param="n",
                )
            given["num_best"] = request.n
        return given

    def _search(self, info: ModelInfo, given: dict[str, Any]) -> dict[str, Any]:
        """Returns all settings, checked."""
        merged = {**info.search, **given}
        if "num_best" not in given and given.get("kind", info.search["kind"]) == "greedy":
            merged["num_best"] = 1
        if "beam" not in given:
            merged["beam"] = max(merged["beam"], merged["num_best"])
        limits = {
            "num_best": self._options.max_replies,
            "beam": self._options.max_beam,
            "max_length": max(self._options.max_reply_words, info.search["max_length"]),
        }
        for name, most in limits.items():
            if merged[name] > most:
                raise ApiError(
                    f"search.{name} may be at most {most} on this server", param=f"search.{name}"
                )
        try:
            config = SearchConfig(**merged)
        except ConfigError as error:
            name = str(error).split()[0].removeprefix("search.")
            raise ApiError(str(error), param=f"search.{name}") from None
        _check_words(config, info)
        return dict(vars(config))  # all of its values are plain

    def _turns(self, turns: Sequence[str], info: ModelInfo, param: str) -> tuple[str, ...]:
        """Returns as many turns as the model reads; white space alone is no message."""
        limits = self._options
        if not turns or len(turns) > limits.max_turns:
            raise ApiError(f"there must be 1 to {limits.max_turns} turns", param=param)
        if any(len(turn) > limits.max_characters for turn in turns):
            raise ApiError(
                f"a message may have at most {limits.max_characters} characters", param=param
            )
        if not _is_visible(turns[-1]):
            raise ApiError("the message is empty: say something", param=param)
        kept = [turn for turn in turns if _is_visible(turn)][-max(1, info.turns) :]
        return tuple(kept)


def _is_visible(text: str) -> bool:
    return any(unicodedata.category(c)[0] not in "CZ" for c in text)


def _text(content: Any) -> str:
    """Returns a message's text, whether it came as text or in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if any(part.type != "text" for part in content):
        raise ApiError("only parts of type text can be read", param="messages")
    return " ".join(part.text or "" for part in content)


def _refuse_unknown(extra: dict[str, Any]) -> None:
    for name, value in extra.items():
        if value is None or name in _WITHOUT_EFFECT or value in _ONLY.get(name, ()):
            continue
        shown = name[:60].encode("ascii", "replace").decode("ascii")
        raise ApiError(
            f"{shown}: this model cannot do that; leave it out", param=shown, code="unsupported"
        )


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if len(stops) > _MOST_STOPS or any(not 0 < len(s) <= _LONGEST_STOP for s in stops):
        raise ApiError(
            f"stop may hold up to {_MOST_STOPS} texts of 1 to {_LONGEST_STOP} characters",
            param="stop",
        )
    return tuple(stops)


def _bias(given: dict[str, float], info: ModelInfo) -> tuple[tuple[int, float], ...]:
    pairs = []
    for key, number in given.items():
        word = int(key) if key.isascii() and key.isdigit() and len(key) < 10 else -1
        if not (0 <= word < info.words and -100 <= number <= 100) or len(given) > _MOST_BIASES:
            raise ApiError(
                f"logit_bias takes up to {_MOST_BIASES} word ids of 0 to {info.words - 1}, each "
                f"with a number of -100 to 100",
                param="logit_bias",
            )
        pairs.append((word, float(number)))
    return tuple(pairs)


def _seed(seed: int | None) -> int:
    """Returns the seed as a number >= 0; without one each request gets its own."""
    return secrets.randbits(53) if seed is None else seed % 2**64


def _check_words(config: SearchConfig, info: ModelInfo) -> None:
    if config.vocabulary != "full" and not info.predicts:
        raise ApiError(
            f"{info.name} does not choose words: use search.vocabulary=full",
            param="search.vocabulary",
        )
    if config.vocabulary == "size" and config.size < info.fixed:
        raise ApiError(
            f"search.size must be at least {info.fixed}, the special and function words that are "
            f"always in",
            param="search.size",
        )
    asked = (config.coverage_alpha, config.coverage_of, config.message_words)
    if config.vocabulary == "conformal" and asked not in [tuple(g) for g in info.guarantees]:
        there = ", ".join(sorted({f"{alpha:g}" for alpha, _, _ in info.guarantees}))
        if not there:
            raise ApiError(
                f"{info.name} is not calibrated (python -m dvs2s.cli.calibrate does that): use "
                f"search.vocabulary=size or threshold",
                param="search.vocabulary",
            )
        raise ApiError(
            f"{info.name} is calibrated for search.coverage_alpha of {there}, and for what "
            f"coverage_of and message_words were then",
            param="search.coverage_alpha",
        )
