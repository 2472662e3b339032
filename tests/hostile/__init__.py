"""What tries to break the harness, and what is promised of each.

`python -m tests.hostile` runs all, and prints how many of each group were survived.
"""

from tests.hostile import commands, layers, library
from tests.hostile.case import CASES, Case

__all__ = ["CASES", "Case", "commands", "layers", "library"]
