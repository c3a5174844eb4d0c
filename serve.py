"""Serves the chatbot on http://127.0.0.1:8000: ``python serve.py [option=value ...]``."""

from dvs2s.cli.configs import ServeConfig
from dvs2s.cli.entry import run
from dvs2s.cli.serve import main

if __name__ == "__main__":
    run("serve", ServeConfig, main)
