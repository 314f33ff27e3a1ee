"""The HTTP API of people and applications: tasks, tokens, containment. Agents are refused here."""
