"""What a practitioner writes by hand with TRL: the yardstick of trainer_overhead.py. Knows nothing of this project."""

from __future__ import annotations

import json
import sys
import time

started = time.time()

from datasets import load_dataset  # noqa: E402  # the imports are part of what is measured
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

settings = json.loads(sys.argv[1])


class Clock(TrainerCallback):  # type: ignore[misc]  # transformers' callbacks have no types
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: object, state: object, control: object, **_: object) -> None:
        self.ends.append(time.time())


model = AutoModelForCausalLM.from_pretrained(settings["model"], dtype="float32")
tokenizer = AutoTokenizer.from_pretrained(settings["model"])
set_seed(42)
lora = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear")
model = get_peft_model(model, lora)
clock = Clock()
trainer = SFTTrainer(
    model=model,
    args=SFTConfig(
        output_dir=settings["output"], num_train_epochs=1, per_device_train_batch_size=8, learning_rate=2e-4,
        lr_scheduler_type="cosine", warmup_steps=0.03, optim="adamw_torch_fused", max_length=256, logging_steps=1,
        save_strategy="no", report_to="none", bf16=False, use_cpu=True, gradient_checkpointing=False,
        train_sampling_strategy="sequential", shuffle_dataset=False, weight_decay=0.0, disable_tqdm=True, seed=42,
    ),
    train_dataset=load_dataset("json", data_files=settings["data"], split="train"),
    processing_class=tokenizer,
    callbacks=[clock],
)  # fmt: skip
trainer.train()
trainer.save_model()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
with open(settings["result"], "w", encoding="utf-8") as file:
    json.dump({"ends": clock.ends, "losses": losses}, file)
