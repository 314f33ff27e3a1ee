"""Adapters of the store side: clock, ids, keys, instances, and the record log in memory or SQLite. They decide nothing."""
