"""Segmenters: images and vocabularies in, segments out. Plain PyTorch; knows no table, no store and no Ray."""
