"""Adapters that make, keep and revoke credentials: one file a provider, and the vault of what is kept."""
