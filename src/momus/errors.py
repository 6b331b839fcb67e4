"""The exceptions a user is meant to see."""


class UserError(Exception):
    """Bad input: the message says what is wrong, where, and what to do, on one line.

    The command line prints it as it is and exits with `exit_code`; libraries may catch it.
    """

    exit_code = 2


class UnfitInputError(UserError):
    """One input cannot be served; others can, by the same model on the same machine."""


class Notice(UserWarning):
    """Something a user should know that ends nothing; the command line prints it once, on one line."""
