"""The Merkle log: tree, proofs, signed checkpoints, verification. Knows no storage and no record's meaning."""
