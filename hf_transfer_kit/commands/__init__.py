"""What is typed: one recipe a file, from its flags to the folder that it leaves; ``hf-transfer`` calls them."""
