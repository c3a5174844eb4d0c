"""Talks in the terminal: ``python -m dvs2s.cli.chat checkpoint=runs/smalltalk``."""

import sys

from dvs2s.answer import Answer
from dvs2s.cli.configs import ChatConfig
from dvs2s.cli.entry import run
from dvs2s.cli.runtime import open_responder
from dvs2s.cli.voice import Voice

_HELP = """\
/words    all words that the last reply was allowed, with their probabilities
/best N   the N best replies to the last message (beam search; at most 100)
/forbid WORDS   never say them (/allow WORDS: always admit them, /free [WORDS]: undo)
/new      forget the conversation
/quit     leave (Ctrl-D does, too)"""

# A beam's memory grows with its width.
_MOST_REPLIES = 100


def main(config: ChatConfig) -> None:
    """Answers each line of standard input until it ends."""
    responder = open_responder(config)
    voice = Voice(responder, config)  # refuses a bad setting before the first message
    Conversation(voice, config.show_words, talkative=sys.stdin.isatty()).run()


class Conversation:
    """One person at the terminal.

    Args:
        voice: answers.
        show_words: content words shown under a reply, 0 for none.
        talkative: whether a person is there: prompts, greeting and words are printed; otherwise
            one reply a line, so that a pipe gets what it expects.
    """

    def __init__(self, voice: Voice, show_words: int, *, talkative: bool) -> None:
        self._voice = voice
        self._show_words, self._talkative = show_words, talkative
        self._turns: list[str] = []
        self._last: Answer | None = None

    def run(self) -> None:
        """Reads lines until the end of input or /quit."""
        if self._talkative:
            import readline  # noqa: F401  # gives input() line editing and history

            print(f"Say something (/help for commands, Ctrl-D to leave). {self._about()}")
        while (line := self._read()) is not None:
            line = line.strip()
            if not line:
                continue
            if line == "/quit":
                return
            print(self._command(line) if line.startswith("/") else self._answer(line), flush=True)

    def _about(self) -> str:
        vocabulary = self._voice.responder.vocabulary
        return f"The model knows {len(vocabulary):,} words and picks some for each message."

    def _read(self) -> str | None:
        if not self._talkative:
            line = sys.stdin.buffer.readline()
            return line.decode("utf-8", errors="replace") if line else None
        try:
            return input("> ")
        except EOFError:
            print()
            return None

    def _answer(self, line: str) -> str:
        self._turns.append(line)
        self._last = self._voice.answers([self._turns])[0]
        self._turns.append(self._last.text)
        if not self._talkative:
            return self._last.text
        lens = f"\n{self._lens(self._last)}" if self._show_words else ""
        return f"{self._last.text}{lens}"

    def _lens(self, answer: Answer) -> str:
        used = set(answer.replies[0].tokens)
        words = [
            f"[{word.word}]" if word.word in used else word.word
            for word in answer.vocabulary.content[: self._show_words]
        ]
        count = f"{len(answer.vocabulary):,} of {answer.vocabulary.total:,} words"
        return f"  {count}: {' '.join(words)} ..."

    def _command(self, line: str) -> str:
        name, *rest = line.split()
        match name:
            case "/help":
                return _HELP
            case "/new":
                self._turns, self._last = [], None
                return "a new conversation"
            case "/words" if self._last:
                return _all_words(self._last)
            case "/best" if self._last:
                return self._best(rest)
            case "/words" | "/best":
                return "say something first"
            case "/allow" | "/forbid" | "/free":
                return self._list_words(name, rest)
        return f"there is no command {name}\n{_HELP}"

    def _list_words(self, name: str, words: list[str]) -> str:
        """Adds to the words that are let in or kept out; /free takes them off both lists."""
        voice = self._voice
        if name == "/free":
            voice.allow[:] = [word for word in voice.allow if words and word not in words]
            voice.forbid[:] = [word for word in voice.forbid if words and word not in words]
        else:
            try:
                known = len(voice.responder.word_ids(words))
            except ValueError as error:
                return str(error)
            listed = voice.allow if name == "/allow" else voice.forbid
            listed += [word for word in words if known and word not in listed]
        allow, forbid = " ".join(voice.allow) or "-", " ".join(voice.forbid) or "-"
        return f"allowed: {allow}; forbidden: {forbid}"

    def _best(self, rest: list[str]) -> str:
        number = int(rest[0]) if rest and rest[0].isdecimal() else 0 if rest else 5
        if len(rest) > 1 or not 1 <= number <= _MOST_REPLIES:
            return f"/best takes a number of replies up to {_MOST_REPLIES}, such as /best 5"
        beam = max(number, self._voice.search.beam)
        answer = self._voice.answers([self._turns[:-1]], kind="beam", num_best=number, beam=beam)[0]
        return "\n".join(f"{reply.score:8.3f}  {reply.text}" for reply in answer.replies)


def _all_words(answer: Answer) -> str:
    content = " ".join(f"{word.word} {word.beta:.2f}" for word in answer.vocabulary.content)
    function = " ".join(word.word for word in answer.vocabulary.function)
    return f"content words: {content}\nfunction words: {function}"


if __name__ == "__main__":
    run("chat", ChatConfig, main)
