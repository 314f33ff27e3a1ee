"""Places outside that the log is sent to. They refuse to know the log and how far they are: `service.log.pump` brings it."""
