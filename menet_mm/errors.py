class InputError(ValueError):
    """Your input is wrong, as opposed to a bug: one sentence on what was wrong, what was expected, what to run next."""


class PictureError(InputError):
    """An item of a data set cannot be loaded; the message names its picture."""

    def __init__(self, message: str) -> None:
        # A data loader raises what a worker raised again, with the worker's traceback in the message.
        super().__init__(message.rpartition(f'{__name__}.PictureError: ')[2].strip())
