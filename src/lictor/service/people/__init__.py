"""People: their answers to what is held, how they prove who they are, and their word on what nobody knows."""
