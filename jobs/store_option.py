"""`--store PREFIX,key=value`: taken out of any command's arguments, as it concerns every URL that a command opens."""

from collections.abc import Sequence

from maskmill.jobs.config_file import ConfigFile, take_option
from maskmill.pipeline.stores import stores


def use(arguments: Sequence[str], config: ConfigFile | None) -> list[str]:
    """Give this process the options that `--store` and the YAML file's `store:` state; the first win over the second.

    Returns:
        The other arguments.

    Raises:
        UsageError: see `Stores.parse`.
    """
    rest, named = take_option(arguments, stores.OPTION)
    stores.use(stores.Stores.parse([*(config.stores if config else ()), *named]))
    return rest
