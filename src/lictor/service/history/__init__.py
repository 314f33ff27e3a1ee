"""What a task has seen and used, between the store and the decision."""
