"""Looks at a subject before it is checked: does the adapter say all that it has to?"""
