"""An object store in memory, under the address gs://, for tests."""

import contextlib

import fsspec
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem


class Bucket(MemoryFileSystem):
    """The file system of fsspec for gs:// inside of `gs_in_memory`."""

    protocol = ("gcs", "gs")
    cachable = False
    store: dict = {}
    pseudo_dirs: list = [""]
    opened: list = []

    def __init__(self, **options):
        super().__init__()

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("gs://"))

    def makedirs(self, path, exist_ok=False):
        """Does nothing: an object store has no empty folders."""

    def _open(self, path, mode="rb", **options):
        self.opened.append((path, mode))
        return super()._open(path, mode, **options)


@contextlib.contextmanager
def gs_in_memory():
    """Yields the objects by path, such as /bucket/folder/index.json, and the list of (path, mode) that were opened."""
    Bucket.store.clear()
    Bucket.pseudo_dirs[:] = [""]
    Bucket.opened.clear()
    forget = type(backend.fsspec_backend)._get_filesystem.cache_clear
    before = fsspec.registry.get("gcs")
    fsspec.register_implementation("gcs", Bucket, clobber=True)
    forget()
    try:
        yield Bucket.store, Bucket.opened
    finally:
        forget()
        fsspec.core.get_filesystem_class.__globals__["_registry"].pop("gcs", None)
        if before is not None:
            fsspec.register_implementation("gcs", before, clobber=True)
