"""Fake OpenAI, Anthropic and Gemini endpoints with scripted latency, limits and faults, that count what arrives.

Start it with `echelon simulator` or `python -m echelon_producers.simulator`; from Python, with `SimulatorProcess` in
process.py. The script format and the control paths are in docs/simulator.md.
"""
