"""Distributed batch processing on Ray for text-to-image research."""

__version__ = "0.1.0"
