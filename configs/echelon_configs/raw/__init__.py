"""The configuration as people write it: one class a mapping of YAML, with the keys unchanged.

These classes are also the source of `echelon config schema`; each `description` is what an editor shows.
"""
