"""The decision: pure functions from a request and a snapshot of facts to an answer.

Refuses to know clock, wire and storage: time and history are among the facts.
"""
