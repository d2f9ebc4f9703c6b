"""Which code makes the models of a configuration. It is imported, and torch with it, when it is asked for."""

from models.architecture import Architecture, Family
from models.denseclip.config import DenseClipConfig
from models.san.config import SanConfig


def family_of(config: Architecture) -> Family:
    """What makes models of these sizes."""
    if isinstance(config, SanConfig):
        from models.san.family import SanFamily

        return SanFamily(config)
    assert isinstance(config, DenseClipConfig), f"{config.family}: a family without code"
    from models.denseclip.family import DenseClipFamily

    return DenseClipFamily(config)
