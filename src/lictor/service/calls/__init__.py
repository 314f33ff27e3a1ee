"""One action from its start to its end: gathered, decided, recorded, granted, sent once, its outcome written down."""
