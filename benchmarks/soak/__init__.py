"""Hours in minutes: many mixed answers at once, with faults and callers who leave."""
