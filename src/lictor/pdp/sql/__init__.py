"""SQL text as typed facts. `facts` is the way in; lexer, tree, names and tables are its parts."""

from lictor.pdp.sql.facts import CEDAR_TYPE, DIALECTS, KINDS, PROVABLE, SqlFacts, sql_facts

__all__ = ["CEDAR_TYPE", "DIALECTS", "KINDS", "PROVABLE", "SqlFacts", "sql_facts"]
