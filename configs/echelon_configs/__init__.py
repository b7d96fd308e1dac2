"""What the cluster is told: raw YAML to validated frozen models."""
