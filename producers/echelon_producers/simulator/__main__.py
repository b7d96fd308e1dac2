"""`python -m echelon_producers.simulator`."""

from .command import simulator_command

if __name__ == "__main__":
    simulator_command(prog_name="python -m echelon_producers.simulator")
