"""Proofs over all requests: policy into logic, a solver's answer, and each counterexample replayed on the real engine.

Needs the extra `lictor[prove]`; nothing on a decision's path imports this package. It never says "proved" of something it could
not translate: an unknown construct raises `Unsupported`, and the property is then *not proved*.
"""
