"""Reads data sets from the Hugging Face hub, pinned to a commit. The token comes from the environment (HF_TOKEN)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from finetune_api.v1alpha1.references import HubDataset

from ..errors import DataError, TrainerError
from .rows import Origin, Row

_COMMIT = re.compile(r"[0-9a-f]{40}")


def commit_of(hub: HubDataset, pinned: str | None) -> str:
    """The commit to read: the pinned one, else what the revision stands for now.

    Raises DataError when the repository or revision is not there or not allowed, TrainerError when the hub cannot be
    reached (worth another attempt).
    """
    wanted = pinned or hub.revision
    if wanted and _COMMIT.fullmatch(wanted):
        return wanted
    import httpx
    from huggingface_hub import HfApi, errors

    try:
        found = HfApi().dataset_info(hub.id, revision=wanted, token=os.environ.get("HF_TOKEN"))
    except errors.GatedRepoError as error:
        raise DataError(
            "access to the data set is not granted.",
            "Ask for access on its page, and name a Secret with a token of that account in tokenSecret.",
            file=hub.id,
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DataError(f"there is no revision {wanted}.", "Write a commit, tag or branch.", file=hub.id) from error
    except errors.RepositoryNotFoundError as error:
        raise DataError(
            "no such data set on the hub, or it is private.",
            "Mend dataset.sources[].hub.id, or name a Secret with a token in tokenSecret.",
            file=hub.id,
        ) from error
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, httpx.HTTPError, OSError) as error:
        raise TrainerError(f"The hub did not answer for the data set {hub.id}: {error}") from error
    return str(found.sha)


def read_hub(hub: HubDataset, commit: str) -> Iterator[Row]:
    """The rows of a split (without one: train, or the only one there is). Raises DataError and TrainerError."""
    import datasets

    try:
        loaded = datasets.load_dataset(
            hub.id, name=hub.config, split=hub.split, revision=commit, token=os.environ.get("HF_TOKEN")
        )
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(f"cannot be read: {error}", "Mend dataset.sources[].hub.", file=hub.id) from error
    except (ValueError, datasets.exceptions.DatasetGenerationError) as error:
        # The library answers unknown splits, configurations and broken files alike, with a text that says which.
        raise DataError(f"cannot be read: {error}", "Mend dataset.sources[].hub.", file=hub.id) from error
    except OSError as error:
        raise TrainerError(f"The data set {hub.id} could not be fetched: {error}") from error
    if isinstance(loaded, datasets.DatasetDict):
        names = list(loaded)
        if "train" not in names and len(names) > 1:
            raise DataError(f"has the splits {', '.join(names)}.", "Set split to one of them.", file=hub.id)
        loaded = loaded["train" if "train" in names else names[0]]
    for number, values in enumerate(loaded, start=1):
        yield Row(values, Origin(hub.id, number))
