"""What the labels mean, in the words of the paper's annotation guide."""

CRITERIA = {
    2: "The response is not only relevant and natural, but also informative and interesting.",
    1: "The response can be used as a reply to the message, but it is too universal, "
    'like "Yes, I see", "Me too" or "I don\'t know".',
    0: "The response cannot be used as a reply to the message: it is semantically irrelevant, "
    "or not fluent (grammatical errors, unknown words).",
}
"""By label, best first. Source: paper, evaluation by people."""

LABELS = tuple(sorted(CRITERIA))
