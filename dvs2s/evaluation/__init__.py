"""Measures of replies and of the vocabularies that they were chosen from."""
