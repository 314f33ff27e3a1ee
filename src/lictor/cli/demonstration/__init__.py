"""The demonstration: a stage with real servers, a scripted agent on the official client, a person, and a readable timeline."""
