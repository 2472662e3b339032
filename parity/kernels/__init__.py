"""Kernels: any function with a backward of its own, over sizes, layouts, values and dtypes."""
