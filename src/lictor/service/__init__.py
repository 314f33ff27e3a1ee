"""Use cases, one file each. Everything the outside does goes through ports; nothing here knows a transport or a database."""
