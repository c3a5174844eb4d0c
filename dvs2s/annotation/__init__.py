"""People's judgement of replies: blinded sheets, a web page, crash-safe labels, agreement."""
