"""Lictor: permission for AI agents, decided outside the model."""

__version__ = "0.1.0"
