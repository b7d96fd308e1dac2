"""`python -m echelon_producers` is the command `echelon`."""

from .cli import main

if __name__ == "__main__":
    main()
