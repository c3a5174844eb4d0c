"""The network's parts: encoder, attention, decoder, word predictor, output."""
