"""What is checked: each check is a function that takes a `Trial` and returns comparisons.

There is a file for each kind of case, from layers to whole models; `kinds` lists them.
"""
