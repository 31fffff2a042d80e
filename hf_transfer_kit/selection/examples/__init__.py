"""Small networks by name, and the network that learned digits: what runs where nothing was given."""
