"""What a user writes: takes an adapter's file, and gives the `Subject`, the framework under test.

`skeleton` writes the beginning of an adapter.
"""
