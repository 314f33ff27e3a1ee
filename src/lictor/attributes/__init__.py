"""Adapters that look facts up in the world before a decision."""
