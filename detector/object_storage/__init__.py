"""Folders of object storage (S3 and its like), as far as a path table needs them."""

from detector.object_storage.object_path import ObjectPath
from detector.object_storage.writers import sole_object_writer

__all__ = ["ObjectPath", "sole_object_writer"]
