"""AgentDojo's tasks and attacks through a real Lictor: no model, no mock, AgentDojo's own checkers judge. `make agentdojo`."""
