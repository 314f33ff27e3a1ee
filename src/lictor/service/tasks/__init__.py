"""Authority for a purpose and a time: opened, delegated, bound to a contract, and shown at the door as a token."""
