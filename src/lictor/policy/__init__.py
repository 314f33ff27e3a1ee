"""What an operator writes and what is derived from it: bundle, catalogue, typed arguments, lint.

Pure: it is given texts and values, and reads no file itself.
"""
