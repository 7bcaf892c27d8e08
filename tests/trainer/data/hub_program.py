"""Prepares hub data sets in a process of its own: the hub's library reads its address when it is imported."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from finetune_trainer.errors import TrainerError, UserError
from tests.trainer.data.building import ADataset, a_tokenizer, trained


def answer(root: str, source: dict[str, Any], token: str, revisions: dict[str, str]) -> dict[str, Any]:
    """What was learnt and the commits, or the error."""
    os.environ["HF_TOKEN"] = token
    tokenizer = a_tokenizer()
    data = ADataset(Path(root)).with_dataset(sources=[{"hub": source}])
    try:
        prepared = data.prepare(tokenizer=tokenizer, revisions=revisions)
    except UserError as error:
        return {"user": error.message}
    except TrainerError as error:
        return {"other": str(error)}
    return {"learnt": trained(prepared, tokenizer), "revisions": prepared.revisions}


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), file=answers, flush=True)
