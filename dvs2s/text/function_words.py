"""Which words belong to the closed classes, and so to every dynamic vocabulary."""

from collections.abc import Sequence
from pathlib import Path

from dvs2s.errors import DataError
from dvs2s.text.chinese import jieba_tags
from dvs2s.text.normalise import normalise

# As basic_english makes them: lower case, contractions cut at the apostrophe ("don ' t").
_PRONOUNS = """
i me my mine myself you your yours yourself yourselves he him his himself she her hers herself
it its itself we us our ours ourselves they them their theirs themselves
somebody someone something anybody anyone anything nobody none nothing everybody everyone
everything one ones
"""
_DETERMINERS = """
the a an this that these those some any no every each either neither both all half such another
other others many much more most few fewer several little less least enough own same
"""
_PREPOSITIONS = """
of in to for on with at by from about as into like through after over between out against during
without before under around among off up down near above below across behind beyond since till
until upon within toward towards along onto per than outside inside despite except beside besides
"""
_CONJUNCTIONS = "and or but nor so yet if because although though while unless whether whereas once"
_AUXILIARIES = """
be am is are was were been being do does did done doing have has had having will would shall should
can could may might must ought cannot
"""
_WH_WORDS = """
what who whom whose which when where why how whatever whoever whichever whenever wherever however
"""
_PARTICLES = """
not never ever too very also just only even still already again then there here now
really quite rather almost maybe perhaps else instead away back well always often sometimes
"""
_INTERJECTIONS = """
yes yeah yep no nope oh ah ok okay hi hello hey bye goodbye wow well hmm um uh huh please thanks
alright ha haha oops ouch
"""
_FRAGMENTS = """
t s m re ll ve d don didn doesn isn aren wasn weren won wouldn couldn shouldn can hasn haven hadn
ain mustn needn
gonna wanna gotta
"""
_PUNCTUATION = "' . , ! ? ( ) - -- … / &"

ENGLISH = frozenset(
    " ".join(
        (
            _PRONOUNS,
            _DETERMINERS,
            _PREPOSITIONS,
            _CONJUNCTIONS,
            _AUXILIARIES,
            _WH_WORDS,
            _PARTICLES,
            _INTERJECTIONS,
            _FRAGMENTS,
            _PUNCTUATION,
        )
    ).split()
)

# First letters of jieba's tags: r pronoun, p preposition, c conjunction, u particle, y sentence
# particle, e interjection, o onomatopoeia, q measure word, x and w punctuation and other marks.
_CLOSED_TAGS = frozenset("rpcuyeoqxw")
# Closed classes whose letter is shared with an open one, and marks, which the dictionary lacks.
_CHINESE = frozenset(
    """
    啊 哦 到 让 您 们 大家 请 不 没 没有 别 很 太 都 也 就 才 又 再
    还 更 最 只 已经 正在 从来 大概 可能 真 真的 一定 非常 是 有 在 会 能
    要 可以 应该 必须 想 得 上 下 里 中 一 一个 一下 一点 两 几 多 少
    这样 那样
    """.split()
)

RULES = ("english", "jieba_tags", "list:<file>", "rank:<n>")


_RARE = 20_000


def check_rule(rule: str) -> None:
    """Checks a rule's spelling without reading anything.

    Raises:
        ValueError: the rule is not one of RULES, or its file name or number is missing.
    """
    kind, colon, argument = rule.partition(":")
    match kind:
        case "english" | "jieba_tags" if not colon:
            return
        case "list" if argument:
            return
        case "rank" if argument.isascii() and argument.isdigit():
            return
    raise ValueError(f"function_words must be one of {', '.join(RULES)}, got {rule!r}")


def split(words: Sequence[tuple[str, int]], rule: str) -> frozenset[str]:
    """Returns the function words among the given words.

    A word of a closed class that is rarer than one token in 20,000 ("whom", "hers") stays a content
    word under the first two rules: in every vocabulary it would only take a likelier word's place.

    Rules:
        `english`: the list in this module, made for the basic_english tokeniser (other tokenisers'
            capitals are ignored: "The" counts too).
        `jieba_tags`: words whose tag in jieba's dictionary is of a closed class (r p c u y e o q x
            w; q of one character only), a short list of Chinese adverbs, auxiliaries, numerals and
            localisers, and everything without a letter or digit. The dictionary gives each word one
            tag, without context, so a few words with a rare closed-class sense come along.
        `list:<file>`: one word a line, UTF-8.
        `rank:<n>`: the n most frequent words (0 = none); ties in the order given.

    Args:
        words: the kept words with their counts, most frequent first.
        rule: one of the rules above.

    Raises:
        ValueError: unknown rule.
        DataError: the list file is missing or not UTF-8.
        Dvs2sError: jieba is needed and missing.
    """
    check_rule(rule)
    kind, _, argument = rule.partition(":")
    match kind:
        case "english":
            return frozenset(word for word, _ in _common(words) if word.lower() in ENGLISH)
        case "jieba_tags":
            return _by_tag(_common(words))
        case "list":
            return _read_list(Path(argument)) & frozenset(word for word, _ in words)
        case _:
            return frozenset(word for word, _ in words[: int(argument)])


def _common(words: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Returns the words that are not rarer than one token in `_RARE`."""
    total = sum(count for _, count in words)
    return [(word, count) for word, count in words if count * _RARE >= total]


def _by_tag(words: Sequence[tuple[str, int]]) -> frozenset[str]:
    tags = jieba_tags()
    return frozenset(
        word
        for word, _ in words
        if word in _CHINESE
        or _is_closed(word, tags.get(word, "n"))
        or not any(c.isalnum() for c in word)
    )


def _is_closed(word: str, tag: str) -> bool:
    # Measure words of two characters are rather nouns: minute, dollar.
    return tag[:1] in _CLOSED_TAGS and not (tag[:1] == "q" and len(word) > 1)


def _read_list(path: Path) -> frozenset[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot read the function words: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the function words are not UTF-8: {error}") from None
    return frozenset(normalise(line) for line in text.splitlines() if normalise(line))
