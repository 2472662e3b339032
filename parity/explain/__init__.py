"""What is wrong: takes a result that failed, and gives the sentence that explains it.

Each family has its known mistakes, such as Tanh's wrong derivatives in `activations`. `diagnosis`
matches a result with them; `causes` finds the one mistake behind many failed checks.
"""
