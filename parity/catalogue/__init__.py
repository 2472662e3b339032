"""What torch has: gives a row for each class, with the options and shapes that it is checked at.

`table` assembles the families' rows; a `Case` is one row at one set of options.
"""
