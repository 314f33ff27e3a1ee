"""The log as others see it: proofs, witnesses, sinks, its key and its epoch."""
