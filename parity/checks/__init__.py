"""What is checked: each check is a function that takes a `Trial` and returns comparisons.

There is a file for each kind of case, from layers to models; `kinds` lists them. `layers` lists
the checks of layers, which stand there or in `domain` (sizes, ranks, magnitudes, corners), `life`
(several passes, several of a class), `memory` and `masks`.
"""
