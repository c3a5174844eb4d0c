"""dvs2s: response generation over a vocabulary predicted for each input.

    import dvs2s

    bot = dvs2s.load("runs/smalltalk")
    answer = bot.reply("do you like coffee ?")
    print(answer.text)
    print([(w.word, w.beta) for w in answer.vocabulary.content[:10]])

The names are loaded when they are first used, so that importing the package costs nothing and a
command can choose its threads before torch starts.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvs2s.answer import AdmittedWord, AdmittedWords, Answer, Reply
    from dvs2s.loading import load
    from dvs2s.responder import Responder

__version__ = "0.1.0"

__all__ = ["AdmittedWord", "AdmittedWords", "Answer", "Reply", "Responder", "load"]

_HOMES = {
    "AdmittedWord": "dvs2s.answer",
    "AdmittedWords": "dvs2s.answer",
    "Answer": "dvs2s.answer",
    "Reply": "dvs2s.answer",
    "Responder": "dvs2s.responder",
    "load": "dvs2s.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dvs2s' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
