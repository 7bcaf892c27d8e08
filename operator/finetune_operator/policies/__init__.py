"""What follows from what: one policy a file, pure functions of an observation and a moment."""
