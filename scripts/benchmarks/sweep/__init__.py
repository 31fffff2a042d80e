"""Networks that people bring, and what the kit must get right on each."""
