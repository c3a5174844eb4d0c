"""What every test needs."""

import signal

# A shell starts background jobs with Ctrl-C ignored, and the commands that tests start and
# interrupt would inherit that: give it back its meaning.
signal.signal(signal.SIGINT, signal.default_int_handler)
