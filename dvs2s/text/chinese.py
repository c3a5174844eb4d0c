"""Loads jieba (optional) for cutting Chinese into words and for its part-of-speech tags."""

import logging
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, cast

from dvs2s.errors import Dvs2sError


@cache
def jieba_cut() -> Callable[[str], list[str]]:
    """Returns the function that cuts a text into words; the dictionary is loaded once (about 1 s).

    Raises:
        Dvs2sError: jieba is not installed.
    """
    tokenizer = _jieba().Tokenizer()
    # jieba would otherwise read a cache from the shared temporary folder, where others can write.
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    return cast(Callable[[str], list[str]], tokenizer.lcut)


@cache
def jieba_tags() -> Mapping[str, str]:
    """Returns the part-of-speech tag of each word in jieba's dictionary.

    Raises:
        Dvs2sError: jieba is not installed.
    """
    tokenizer = _jieba().Tokenizer()
    with tokenizer.get_dict_file() as file:
        rows = (line.decode("utf-8").split() for line in file)
        return {row[0]: row[2] for row in rows if len(row) == 3}


def _jieba() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escape sequences in its source
        try:
            import jieba
        except ImportError:
            raise Dvs2sError(
                "jieba is not installed: run `pip install jieba==0.42.1` (or dvs2s[zh])"
            ) from None
    jieba.setLogLevel(logging.WARNING)
    return jieba
