"""Search over the slots of each input's vocabulary, and what turns a message into a reply."""
