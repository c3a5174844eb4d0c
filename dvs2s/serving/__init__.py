"""The demo server: a front process that speaks HTTP, an engine process that holds the model."""
