"""A checked draft to the configuration: every default filled in."""
