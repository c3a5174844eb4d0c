"""Text: normalising, tokenising, function words and the vocabulary."""
