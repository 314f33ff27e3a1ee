"""Commands as typed facts. `facts` is the way in; lexer, programs and tables are its parts."""

from lictor.pdp.command.facts import CEDAR_TYPE, CommandFacts, command_facts

__all__ = ["CEDAR_TYPE", "CommandFacts", "command_facts"]
