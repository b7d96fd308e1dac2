"""Text to marked values: files within bounds, YAML with its lines, literal secrets refused."""
