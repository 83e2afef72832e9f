"""Versions made of other versions, from their manifests alone: no image is read, moved or stored again."""
