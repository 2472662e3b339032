"""What the gate decides: takes what was measured and what is recorded, and gives rows of verdicts.

`verdicts` decides whether a benchmark is slower; `numerics` and `accuracy`, what is worse.
"""
