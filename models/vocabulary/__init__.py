"""Vocabularies: class names with stable ids, the shipped label sets, files that users write, prompt templates."""

from maskmill.models.vocabulary.vocabulary import Entry, Kind, Vocabulary

__all__ = ["Entry", "Kind", "Vocabulary"]
