"""Addresses of the web, and connections to them, for services that call where a user tells them to."""
