"""What the project writes, kept as files: a change of one is seen in review, line by line."""
