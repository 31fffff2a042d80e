"""Where a recipe meets what is typed and the machine: settings, folders, errors of others, the Hub."""
