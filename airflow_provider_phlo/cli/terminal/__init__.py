"""What all commands share: their arguments as data, errors as lines, results as tables or JSON."""
