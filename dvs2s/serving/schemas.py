"""What requests and replies look like."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class SearchSettings(_Strict):
    """How the reply is found; what is left out is as the server was started."""

    kind: Literal["greedy", "beam", "sampling", "diverse_beam"] | None = None
    beam: int | None = Field(default=None, ge=1, description="hypotheses that beam search keeps")
    num_best: int | None = Field(default=None, ge=1, description="replies wanted")
    length_penalty: float | None = Field(default=None, ge=0)
    min_length: int | None = Field(default=None, ge=0)
    max_length: int | None = Field(default=None, ge=1, description="words of a reply, at most")
    block_ngram: int | None = Field(default=None, ge=0, le=1000)
    temperature: float | None = Field(default=None, gt=0, le=100)
    top_k: int | None = Field(default=None, ge=0, le=1_000_000)
    top_p: float | None = Field(default=None, gt=0, le=1)
    groups: int | None = Field(default=None, ge=1, description="of a diverse beam")
    diversity: float | None = Field(default=None, ge=0, le=1000, description="of a diverse beam")
    vocabulary: Literal["size", "threshold", "full", "conformal"] | None = Field(
        default=None,
        description="how T is chosen: by size, a threshold on β, with a guarantee, or not at all",
    )
    size: int | None = Field(
        default=None, ge=1, le=100_000_000, description="|T|, function words counted"
    )
    threshold: float | None = Field(
        default=None, gt=0, lt=1, description="β from which a word is in T"
    )
    alpha: float | None = Field(default=None, ge=0, le=100)
    coverage_alpha: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="conformal: the share that T may miss, a calibrated one",
    )
    coverage_of: Literal["all", "share"] | None = None
    coverage_by: Literal["threshold", "size"] | None = None
    message_words: bool | None = Field(
        default=None, description="whether the message's words come into T"
    )


class ReplyRequest(_Strict):
    """A message and everything that can be asked about its answer."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {"message": "do you like coffee ?"},
                {
                    "message": ["hello !", "hi, how are you ?", "fine. what shall we cook ?"],
                    "search": {"kind": "sampling", "temperature": 0.7, "num_best": 3},
                    "seed": 7,
                    "lens": 20,
                },
            ]
        },
    )

    message: str | list[str] = Field(description="a text, or a conversation's turns, newest last")
    model: str | None = Field(default=None, max_length=200, description="a name of GET /v1/models")
    search: SearchSettings = Field(default_factory=lambda: SearchSettings())
    seed: int | None = Field(default=None, description="fixes what is sampled")
    allow: list[str] = Field(default_factory=list, max_length=100, description="words for T")
    forbid: list[str] = Field(default_factory=list, max_length=100, description="words not to say")
    lens: int = Field(
        default=100, ge=0, le=100_000, description="content words of T to list, at most"
    )
    sources: bool = Field(
        default=False, description="whether to say which word of the message brought each one in"
    )
    stream: bool = Field(default=False, description="server-sent events: words, text, done")


class LensWord(BaseModel):
    """A content word of T with the probability β that the reply needs it."""

    word: str
    id: int
    beta: float


class Vocabulary(BaseModel):
    """T, the words that a reply was allowed: ``size`` of ``total`` words."""

    size: int
    total: int
    content_size: int
    content: list[LensWord]
    function: list[str]


class BestReply(BaseModel):
    """One reply; ``betas`` go with ``tokens``, 1 for function words."""

    text: str
    tokens: list[str]
    betas: list[float]
    score: float
    log_prob: float
    finish: Literal["stop", "length"]


class Source(BaseModel):
    """A listed word, the message's word without which its β is lowest, and that β.

    ``brought_in_by`` is null where no word of the message speaks for it.
    """

    word: str
    brought_in_by: str | None
    beta_without: float | None


class Heard(BaseModel):
    """Words of the newest turn, as the model splits it, and how many of them it does not know."""

    words: int
    unknown: int


class ReplyResponse(BaseModel):
    """The replies, best first, and what is known about them."""

    id: str
    model: str
    seed: int | None
    replies: list[BestReply]
    vocabulary: Vocabulary
    heard: Heard
    seconds: dict[str, float]
    batch: int
    sources: list[Source] | None = None


class Part(BaseModel):
    """A piece of a message; only text can be read."""

    model_config = ConfigDict(strict=True)
    type: str = Field(max_length=100)
    text: str | None = None


class ChatMessage(BaseModel):
    """One turn. Instructions (``system``, ``developer``) are read by nobody: the model has none."""

    model_config = ConfigDict(strict=True)
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None


class StreamOptions(BaseModel):
    """``include_usage`` adds a last chunk with counts."""

    model_config = ConfigDict(strict=True)
    include_usage: bool = False


class ChatRequest(BaseModel):
    """OpenAI's request. Fields that this model cannot follow are refused by name."""

    model_config = ConfigDict(
        strict=True,
        extra="allow",
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [{"messages": [{"role": "user", "content": "do you like coffee ?"}]}]
        },
    )

    messages: list[ChatMessage] = Field(min_length=1)
    model: str | None = Field(default=None, max_length=200)
    n: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(
        None,
        ge=0,
        le=2,
        description="0 is greedy search, more samples, none is the server's search",
    )
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = None
    logit_bias: dict[str, float] | None = Field(
        default=None, description="word id to -100..100; ids are in /v1/reply's vocabulary"
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    search: SearchSettings | None = Field(default=None, description="an extension: as in /v1/reply")


class ChatAnswer(BaseModel):
    """The message of a choice."""

    role: Literal["assistant"]
    content: str
    refusal: None = None


class Choice(BaseModel):
    """One reply."""

    index: int
    message: ChatAnswer
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class Usage(BaseModel):
    """Counts of words."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatResponse(BaseModel):
    """OpenAI's response."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage


class ModelCard(BaseModel):
    """A model in OpenAI's list, with what the page wants to know in ``dvs2s``."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    dvs2s: dict[str, Any]


class ModelList(BaseModel):
    """OpenAI's list of models, the default first."""

    object: Literal["list"]
    data: list[ModelCard]


class ErrorDetail(BaseModel):
    """Why a request was refused."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """A refusal."""

    error: ErrorDetail
