"""What tightens while a gateway runs, and what is left after one has died."""
