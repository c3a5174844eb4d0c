"""The paper's table: rows decoded, scored, timed and written down."""
