"""A client that is given, or one of its own: what the managers of `seed` have in common."""

from typing import Self

from .client import Client


class WithClient:
    """Uses a client, and closes it if nobody gave it."""

    def __init__(self, client: Client | str | None = None) -> None:
        """`client`: one to share, the URL of a Redis, or nothing for ECHELON_REDIS_URL, else REDIS_URL.

        Raises EchelonError when there is no URL.
        """
        self._is_own = not isinstance(client, Client)
        self._client = client if isinstance(client, Client) else Client(client)

    def close(self) -> None:
        """Close the connections, unless the client was given."""
        if self._is_own:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
