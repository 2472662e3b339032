"""Both reports, reproduced: `python -m bench paper` writes REPORT.md, its figures and its page."""
