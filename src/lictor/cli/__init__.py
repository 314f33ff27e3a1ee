"""The command line: reads arguments, calls the application, prints. Nothing is decided here."""
