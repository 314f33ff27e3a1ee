"""Effect previews: what would become of an action, found out by the gateway's own authority to read, before people answer."""
