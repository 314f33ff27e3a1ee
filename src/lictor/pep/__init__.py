"""Enforcement points: where an agent's request becomes an `ActionRequest` and a grant becomes bytes on a wire."""
