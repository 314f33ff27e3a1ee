"""Stand-ins for tests, ours and users': a clock set by hand, ids that count. Nothing here decides or records."""
