"""What an adapter can be wrong in. Imports nothing, so that a command can say it at once."""


class AdapterError(Exception):
    """An adapter that cannot be used: what is wrong with it, and what would be right."""
