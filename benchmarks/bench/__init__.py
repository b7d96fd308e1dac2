"""What the benchmarks share: a server of their own, the two sides that are compared, and how results are shown."""
