"""What the records say afterwards: decided again, told, counted, checked against each other; and what of them has an end."""
