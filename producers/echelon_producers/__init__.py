"""The ways in: Python client, HTTP API, command line."""
