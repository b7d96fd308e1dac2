"""The HTTP API: jobs and the cluster's status for web apps in any language (docs/http-api.md)."""

from .application import create_api

__all__ = ["create_api"]
