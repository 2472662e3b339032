"""Both reports, reproduced: `python -m bench paper` writes REPORT.md, its figures and its page.

Each artefact has a file. A figure's has `tasks(scale)`, what is trained for it, and
`section(scale, found, canvas)`, what is said of it; a table's has its protocols as data and
`CELLS`, its rows, which `tables.py` goes through. `report.py` lists them, and writes.

protocol.py, training.py    what a training is, and how it is run: by scratch, or by torch
as_published.py             the reports' formulas as they are printed
cells.py, statistics.py     how a verdict is found
"""
