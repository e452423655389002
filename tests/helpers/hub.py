"""Stands for the Hugging Face hub."""

from pathlib import Path

import huggingface_hub


class Hub:
    """What the hub's client has in its cache, and what the hub answers; `calls` are what it was asked."""

    def __init__(self, monkeypatch, *, cached=None, online=None, error=None):
        """Takes files or folders of files, in the cache and online; `error` is raised instead of an answer."""
        self.cached, self.online, self.error, self.calls = cached, online, error, []
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.download)
        monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda: self)

    def head(self, url, timeout):
        assert (url, timeout) == (huggingface_hub.constants.ENDPOINT, 5)
        self.calls.append("head")
        if self.error is not None:
            raise self.error

    def download(self, repo_id, filename, *, revision, local_files_only=False):
        self.calls.append(("cache" if local_files_only else "download", repo_id, filename, revision))
        found = self.cached if local_files_only else self.online
        if found is None:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not there")
        return str(found / filename if Path(found).is_dir() else found)
