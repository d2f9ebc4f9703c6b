"""The errors that a user can cause: what the command line prints as one line, and with which exit code."""


class UsageError(Exception):
    """Wrong usage: exit code 2. The text is one line with the value, what was expected, and the fix."""


class EnvironmentFailure(Exception):
    """The surroundings failed (credentials, disk, a job that ended early): exit code 3. The text is one line."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as of a spot machine's notice or `kubectl delete`: exit code 143; SIGHUP, of a closed terminal: 129."""
