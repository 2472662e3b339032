"""A class: one adapter, many submissions, a report of all of them and a page for each.

`submissions.py` says which there are and whether one has changed, `lane.py` checks one, `result.py`
is what is kept of it, `points.py` what it is worth, `page.py` and `table.py` show them; `run.py` is
the way through these, `command.py` the options of `parity check ADAPTER --submissions`.
"""
