"""Visionyard: the self-hosted line from a raw labelled archive to a served vision model."""

__version__ = "0.1.0"
