"""Which code makes the models of a configuration. It is imported, and torch with it, when it is asked for."""

from typing import TYPE_CHECKING

from maskmill.models.architecture import Architecture
from maskmill.models.denseclip.config import DenseClipConfig
from maskmill.models.san.config import SanConfig

if TYPE_CHECKING:
    from maskmill.models.family import Family


def family_of(config: Architecture) -> "Family":
    """What makes models of these sizes."""
    if isinstance(config, SanConfig):
        from maskmill.models.san.family import SanFamily

        return SanFamily(config)
    assert isinstance(config, DenseClipConfig), f"{config.family}: a family without code"
    from maskmill.models.denseclip.family import DenseClipFamily

    return DenseClipFamily(config)
