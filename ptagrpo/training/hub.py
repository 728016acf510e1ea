"""Uploading a model through huggingface_hub: `push_to_hub`."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..policy import Policy
from .callbacks import TrainerCallback, TrainerControl, TrainerState
from .config_common import TrainingConfig


def push(policy: Policy, args: TrainingConfig, commit_message: str, *, token: str | None = None) -> str:
    """Write the model to a temporary folder and upload it in one commit. Returns the commit's address.

    The token is the one that huggingface_hub keeps (`hf auth login`, HF_TOKEN), or `token`; it is stored nowhere.

    Raises:
        CheckpointError: the hub cannot be reached or does not take it; says what it said.
    """
    import huggingface_hub

    name = args.hub_model_id or Path(args.output_dir).resolve().name
    try:
        api = huggingface_hub.HfApi(token=token)
        repository = api.create_repo(name, private=args.hub_private_repo, exist_ok=True)
        if args.hub_revision:
            api.create_branch(repository.repo_id, branch=args.hub_revision, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            policy.save(folder)
            commit = api.upload_folder(
                repo_id=repository.repo_id, folder_path=folder, commit_message=commit_message,
                revision=args.hub_revision,
            )  # fmt: skip
    except Exception as error:  # an HTTP library's own kinds too: no network is not always an OSError
        raise CheckpointError(
            f"push_to_hub: {name}: {type(error).__name__}: {error}. Log in with `hf auth login` or set HF_TOKEN; "
            "trainer.push_to_hub() tries again"
        ) from error
    return str(commit)


class HubPush(TrainerCallback):
    """Uploads at the end, with hub_strategy "every_save" at checkpoints too. A failure is told, the run goes on."""

    def __init__(self, args: TrainingConfig):
        self._args = args

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._args.hub_strategy == "every_save" and state.global_step < state.max_steps:
            self._push(kwargs["model"], f"Training in progress, step {state.global_step}")

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._push(kwargs["model"], "End of training")

    def _push(self, policy: Policy, message: str) -> None:
        try:
            push(policy, self._args, message)
        except CheckpointError as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
