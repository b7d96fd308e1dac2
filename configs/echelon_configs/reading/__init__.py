"""Marked values to a draft: each mapping validated, each reference looked up, every error collected."""
