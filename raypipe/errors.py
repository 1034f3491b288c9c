"""The one exception that stands for the user's mistake."""


class UserError(Exception):
    """A mistake the user can correct: its message states the rule, then the value.

    A job that meets one prints the message as a single line and exits with status 2, also when it
    was raised on a worker. Everything else is ours, and shows a traceback.
    """
