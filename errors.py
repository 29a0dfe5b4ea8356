"""The one exception that stands for a user's mistake: scripts turn it into one line and exit code 2."""


class UserError(Exception):
    """A flag, file, data set or device that cannot work; it names the value, the rule and the way out."""
