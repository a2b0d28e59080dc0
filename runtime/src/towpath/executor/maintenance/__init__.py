"""What a worker does beside its turns, for the whole schema: one service a file."""
