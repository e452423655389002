"""Files of repositories on the Hugging Face hub."""

from __future__ import annotations

import contextlib
from pathlib import Path

from segnet_jax.errors import InputError

# Seconds in which the hub must answer at all. Its client alone tries for half a minute, and says so.
_PATIENCE = 5


def fetch(repository: str, file: str, revision: str | None = None, *, refresh: bool, advice: str) -> Path:
    """Returns a file of a repository, on this machine.

    Args:
      repository: OWNER/NAME.
      file: its path there.
      revision: branch, tag or commit; None is the main branch.
      refresh: True: asks the hub first, and takes what the hub's cache on this machine has where it does not answer.
        False: asks the hub only for what the cache has not.
      advice: the way out, for the message.

    Raises:
      InputError: if neither has it.
    """
    # Imported here, for it is slow and only this function needs it.
    from huggingface_hub import constants, errors, hf_hub_download, utils

    in_cache = contextlib.suppress(errors.LocalEntryNotFoundError)
    if not refresh:
        with in_cache:
            return Path(hf_hub_download(repository, file, revision=revision, local_files_only=True))
    try:
        utils.get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
        return Path(hf_hub_download(repository, file, revision=revision))
    # Whatever the libraries below raise.
    except Exception as error:
        if refresh:
            with in_cache:
                return Path(hf_hub_download(repository, file, revision=revision, local_files_only=True))
        raise InputError(
            f"{file} of {repository} (revision {revision or 'main'}) could not be had from the Hugging Face hub "
            f"({type(error).__name__}); {advice}."
        ) from error
