"""What an adapter can be wrong in. Imports nothing, so that a command can say it at once."""


class AdapterError(Exception):
    """An adapter that cannot be used: what is wrong with it, and what would be right."""


class MissingSetting(AdapterError):
    """The adapter has forgotten to say something.

    Attributes:
        settings: what it has to say, each as one writes it: `weight="in_out"`.
    """

    def __init__(self, text: str, settings: list[str]) -> None:
        super().__init__(text)
        self.settings = settings
