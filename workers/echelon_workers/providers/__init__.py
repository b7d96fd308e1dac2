"""Calls to LLM providers."""
