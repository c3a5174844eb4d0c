"""Vocabularies that hold the words of a reply with a probability chosen beforehand."""
