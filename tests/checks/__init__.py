"""What every pair must keep: each check is a plain function that returns comparisons.

`test_layers.py`, `test_losses.py`, `test_optimizers.py` and `test_models.py` run the checks on
scratch as it is; `test_faults.py` runs them on scratch with a fault planted, and demands that
they fail.
"""
