"""The compiled decode engine for the CPU: the plain search's replies, many times sooner."""
