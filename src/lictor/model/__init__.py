"""The nouns: frozen, validated at birth, no behaviour beyond that. Knows nothing of policy, storage or wire."""
