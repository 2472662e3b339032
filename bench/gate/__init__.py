"""What the regression gate holds against an earlier commit, a baseline, and torch."""
