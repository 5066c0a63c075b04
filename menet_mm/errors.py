"""The error that means "your input is wrong", as opposed to a bug."""


class InputError(ValueError):
    """Its message is one sentence for the person at the keyboard: what was wrong, what was expected, what to run next."""


class PictureError(InputError):
    """An item of a data set cannot be loaded; the message names its picture."""

    def __init__(self, message: str) -> None:
        # A data loader raises what a worker raised again, with the worker's traceback in the message.
        super().__init__(message.rpartition(f'{__name__}.PictureError: ')[2].strip())
