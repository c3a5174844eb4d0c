"""The special words: the lowest ids of every vocabulary, in every dynamic vocabulary."""

PAD, UNK, BOS, EOS, SEP = range(5)
"""Padding, unknown word, begin and end of a response, border between the turns of a message."""

SPECIALS = ("<pad>", "<unk>", "<s>", "</s>", "<sep>")
"""Their words, by id."""

NEVER_GENERATED = (PAD, UNK, BOS, SEP)
"""Words that no reply holds."""
