"""The demo: hundreds of real prompts through a whole cluster on simulated providers, and a report."""
