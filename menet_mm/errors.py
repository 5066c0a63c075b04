"""The error that means "your input is wrong", as opposed to a bug."""


class InputError(ValueError):
    """Its message is one sentence for the person at the keyboard: what was wrong, what was expected, what to run next."""
