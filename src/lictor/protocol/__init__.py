"""Bytes to nouns and back, without I/O. Refuses to know who sent them, what policy thinks and where they go."""
