"""Where values come from: their one form by kind, how they are found in text, and under which digest they are remembered.

Pure. It refuses to know tasks, stores and policies. Threats: content an agent reads that names a recipient, an account or a URL
of its own (OWASP ASI01, HIST-05..10).
"""
