"""A vision-language policy from the outside: folders, prompts with images, sampling, both trainers, evaluation; and
real rows with the real tokenizer, chat template and preprocessor configuration, equal to transformers' processor."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import tokenizers
import vision_helpers

import ptagrpo
from ptagrpo import PTAGRPOConfig, PTAGRPOTrainer, SFTConfig, SFTTrainer, _core
from ptagrpo.errors import ConfigError, DataError
from ptagrpo.io import read_jsonl
from ptagrpo.records import Encoded, Question
from ptagrpo.tokenizer import Tokenizer
from ptagrpo.vision import ImageProcessor

images = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

MARKS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer() -> Tokenizer:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={c: i for i, c in enumerate(
        sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))}, merges=[]))  # fmt: skip
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens([tokenizers.AddedToken(mark, special=True) for mark in MARKS])
    config = {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>", "tokenizer_class": "Qwen2Tokenizer"}
    return Tokenizer(backend, config=config, chat_template=TEMPLATE)


def make_policy(seed: int = 0, dtype: str = "float32") -> ptagrpo.Policy:
    tokenizer = make_tokenizer()
    config = {**vision_helpers.CONFIG, "vocab_size": tokenizer.vocab_size, "initializer_range": 0.3,
              "image_token_id": tokenizer.backend.token_to_id("<|image_pad|>"),
              "eos_token_id": tokenizer.eos_token_id}  # fmt: skip
    policy = ptagrpo.Policy.from_config(config, tokenizer, seed, dtype)
    policy.image_processor = ImageProcessor(min_pixels=16, max_pixels=400, patch_size=2)
    return policy


def png(size: tuple[int, int], seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    images.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def chat(*parts) -> list:
    content = [
        {"type": "text", "text": p} if isinstance(p, str) else {"type": "image", "image": p} for p in parts
    ]
    return [{"role": "user", "content": content}]


PROMPTS = [chat("Two: ", png((9, 14), 1), " and ", png((31, 8), 2), "?"), [{"role": "user", "content": "No picture."}],
           chat(png((12, 12), 3), "Here.")]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sampled_logprobs_are_those_of_the_whole_sequence(dtype):
    policy = make_policy(dtype=dtype)
    drawn = policy.generate(PROMPTS, n=2, max_new_tokens=20, seed=5)
    alone = policy.generate(PROMPTS[2:], n=2, max_new_tokens=20, keys=np.array([7, 8], np.uint64))
    again = policy.generate(PROMPTS, n=2, max_new_tokens=20, keys=np.array([1, 2, 3, 4, 7, 8], np.uint64))[2]
    assert [c.token_ids.tolist() for c in alone[0]] == [c.token_ids.tolist() for c in again]
    for prompt, completions in zip(PROMPTS, drawn, strict=True):
        encoded = policy.encode(prompt)
        for completion in completions:
            whole = Encoded(np.concatenate([encoded.ids, completion.token_ids]), encoded.pictures)
            (logprobs,) = policy.logprobs([whole])
            assert np.array_equal(logprobs[len(encoded) - 1 :], completion.logprobs)


def test_pictures_matter_and_their_order_does():
    policy = make_policy()
    first, second = png((12, 12), 3), png((12, 12), 4)
    values = [
        policy.logprobs([policy.encode(chat(a, b, "?"))])[0][-1]
        for a, b in [(first, second), (second, first), (first, first)]
    ]
    assert len(set(values)) == 3


def test_a_folder_goes_through_transformers_and_back(tmp_path):
    policy = make_policy()
    policy.save(tmp_path / "vl")
    again = ptagrpo.load(tmp_path / "vl")
    assert again.accepts_images and again.image_processor == policy.image_processor
    encoded = [policy.encode(prompt) for prompt in PROMPTS]
    before, after = policy.logprobs(encoded), again.logprobs([again.encode(prompt) for prompt in PROMPTS])
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    torch = pytest.importorskip(
        "torch", reason="torch is not installed: loading in transformers is not tried"
    )
    transformers = pytest.importorskip("transformers")
    theirs, report = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
        tmp_path / "vl", output_loading_info=True, dtype=torch.float32)  # fmt: skip
    assert not report["missing_keys"] and not report["unexpected_keys"]
    ids = torch.from_numpy(encoded[0].ids.astype(np.int64))[None]
    pixels = np.concatenate([p.processor.patches(p) for p in encoded[0].pictures])
    with torch.no_grad():
        logits = theirs(
            ids, pixel_values=torch.from_numpy(pixels),
            image_grid_thw=torch.tensor([[1, *p.grid] for p in encoded[0].pictures]),
            mm_token_type_ids=(ids == policy.config.vision.image_token_id).int(),
        ).logits[0].log_softmax(-1)  # fmt: skip
    expected = logits[torch.arange(len(ids[0]) - 1), ids[0, 1:]].numpy()
    np.testing.assert_allclose(before[0], expected, atol=2e-4)
    theirs.save_pretrained(tmp_path / "written")
    for name in (
        "tokenizer.json",
        "tokenizer_config.json",
        "preprocessor_config.json",
        "chat_template.jinja",
    ):
        if (tmp_path / "vl" / name).exists():
            (tmp_path / "written" / name).write_bytes((tmp_path / "vl" / name).read_bytes())
    back = ptagrpo.load(tmp_path / "written")
    assert all(np.array_equal(w, policy.named_weights()[n]) for n, w in back.named_weights().items())


def rows(folder) -> list[dict]:
    made = []
    for k in range(4):
        (folder / f"{k}.png").write_bytes(png((8 + 5 * k, 11), k))
        made.append({"question": f"What is <image 1> of {k}?", "answer": str(k), "image": f"{k}.png"})
    made.append({"question": "And without?", "answer": "1"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return made


def settings(folder, **changes) -> PTAGRPOConfig:
    return PTAGRPOConfig(**{
        "output_dir": str(folder), "num_plans": 2, "cots_per_plan": 2, "max_plan_length": 4,
        "max_completion_length": 10, "gradient_accumulation_steps": 5, "learning_rate": 1e-3, "max_steps": 2,
        "logging_steps": 1, "save_steps": 1, "prompt_style": "raw", "disable_tqdm": True, **changes,
    })  # fmt: skip


def length(completions, **kwargs):
    return [float(len(text)) for text in completions]


@pytest.mark.parametrize("freeze", [True, False], ids=["frozen", "trained"])
def test_reinforcement_learning_with_images(tmp_path, freeze):
    rows(tmp_path)
    policy = make_policy()
    before = {name: weight.copy() for name, weight in policy.named_weights().items()}
    trainer = PTAGRPOTrainer(policy, [length], settings(tmp_path / "run", freeze_vision_tower=freeze),
                             str(tmp_path / "rows.jsonl"))  # fmt: skip
    trainer.train()
    log = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    assert all(row["sampling/sampling_logp_difference/max"] == 0.0 for row in log if "reward" in row)
    moved = {
        name for name, weight in policy.named_weights().items() if not np.array_equal(weight, before[name])
    }
    assert any(name.startswith("model.") for name in moved)
    assert any(name.startswith("visual.blocks") for name in moved) == (not freeze)
    assert (tmp_path / "run" / "checkpoint-2" / "preprocessor_config.json").exists()


def test_a_run_with_images_resumes_in_the_middle_of_a_rollout(tmp_path):
    rows(tmp_path)
    ends = []
    for name, stops in (("whole", [4]), ("parts", [3, 4])):
        for steps in stops:
            policy = make_policy()
            options = settings(tmp_path / name, num_iterations=2, max_steps=steps, freeze_vision_tower=False)
            PTAGRPOTrainer(policy, [length], options, str(tmp_path / "rows.jsonl")).train(
                resume_from_checkpoint="auto"
            )
        ends.append({n: w.copy() for n, w in policy.named_weights().items()})
    assert all(np.array_equal(ends[0][name], weight) for name, weight in ends[1].items())


def test_the_cold_start_with_images(tmp_path):
    picture = png((14, 10), 5)
    records = [{"prompt": "Look: <image 1>", "completion": "A cat.", "images": [picture]},
               {"question": "Which?", "plan": "Look.", "think": "I see.", "answer": "2", "image": picture},
               {"prompt": "Hello", "completion": "Hi."}]  # fmt: skip
    policy = make_policy()
    trainer = SFTTrainer(policy, SFTConfig(output_dir=str(tmp_path), num_train_epochs=8, learning_rate=1e-2,
                                           logging_steps=1, per_device_train_batch_size=3, disable_tqdm=True,
                                           prompt_style="raw"),
                         records)  # fmt: skip
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert losses[-1] < 0.8 * losses[0]
    with pytest.raises(DataError, match="no token to learn from"):
        SFTTrainer(make_policy(), SFTConfig(output_dir=str(tmp_path / "x"), max_length=12), records[:1])


def test_images_in_the_messages_of_a_conversation_are_seen(tmp_path):
    """As in the column `images`, where their parts have no image of their own."""
    policy, picture = make_policy(), png((14, 10), 5)
    asked, said = chat(picture, "Which?"), [{"role": "assistant", "content": "A cat."}]
    conversation = {"messages": [*asked, *said]}
    pair = {"prompt": asked, "completion": said}
    column = {"prompt": "<image 1>Which?", "completion": "A cat.<|im_end|>", "image": picture}
    records = SFTTrainer(policy, SFTConfig(output_dir=str(tmp_path)), [conversation, pair, column])._records
    for record in records:
        assert len(record.pictures) == 1 and np.array_equal(record.token_ids, records[0].token_ids)
        assert (record.token_ids == policy.config.vision.image_token_id).sum() == record.pictures[0].tokens > 1


def test_an_adapter_beside_the_tower(tmp_path):
    rows(tmp_path)
    policy = make_policy()
    before = {name: weight.copy() for name, weight in policy.model.parameters().items()}
    trainer = PTAGRPOTrainer(policy, [length], settings(tmp_path / "run", max_steps=1), str(tmp_path / "rows.jsonl"),
                             peft_config=ptagrpo.LoraConfig(r=2, target_modules="all-linear"))  # fmt: skip
    trainer.train()
    assert all(np.array_equal(weight, before[name]) for name, weight in policy.model.parameters().items())
    assert any(weight.any() for name, weight in policy.named_weights().items() if "lora_B" in name)


def test_adapters_go_to_peft_and_back(tmp_path):
    """Logits of an adapted model on text, ours against PEFT's on transformers in float64, in both directions."""
    for module in ("torch", "transformers", "peft"):
        pytest.importorskip(module, reason=f"{module} is not installed: PEFT is the yardstick")
    import model_oracle
    import peft
    import torch
    import vision_oracle

    policy = make_policy()
    config = policy.config.to_dict()
    weights = {name: weight.copy() for name, weight in policy.model.parameters().items()}
    policy.add_adapter(ptagrpo.LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "up_proj", "down_proj"]))
    generator = np.random.default_rng(4)
    for matrix in policy.model.adapter_parameters().values():
        matrix[...] = 0.3 * generator.standard_normal(matrix.shape)
    policy.save(tmp_path / "ours")
    ids = np.array([5, 9, 4, 11, 30, 2], np.int32)
    forest = _core.Forest(ids, np.array([0, 6], np.int32), np.array([-1], np.int32))
    ours = policy.model.logits(forest, np.arange(6, dtype=np.int32))
    theirs = peft.PeftModel.from_pretrained(vision_oracle.build(config, weights), tmp_path / "ours").double().eval()
    adapted = [name for name, _ in theirs.named_parameters() if "lora_" in name]
    assert len(adapted) == len(policy.model.adapter_parameters()) and not any("visual" in name for name in adapted)
    with torch.no_grad():
        truth = model_oracle.logits(theirs, ids).numpy()
        assert np.abs(ours - truth).max() < 1e-4 * np.abs(truth).max()
        for _, p in theirs.named_parameters():
            p.requires_grad_(True)
        for name, p in theirs.named_parameters():
            if "lora_B" in name:
                p.mul_(-0.5)
        truth = model_oracle.logits(theirs, ids).numpy()
    theirs.save_pretrained(tmp_path / "theirs")
    other = make_policy()
    other.load_adapter(tmp_path / "theirs")
    assert other.lora_config.target_modules == ["q_proj", "up_proj", "down_proj"]
    found = other.model.logits(forest, np.arange(6, dtype=np.int32))
    assert np.abs(found - truth).max() < 1e-4 * np.abs(truth).max() and np.abs(found - ours).max() > 1e-3


def test_evaluation_on_questions_with_images(tmp_path):
    questions = [Question(str(k), f"<image 1> {k}?", "A", {}, [png((10, 10 + k), k)]) for k in range(3)]
    result = ptagrpo.evaluate(
        make_policy(), questions, kind="exact", prompt_style="raw", max_new_tokens=8, progress=False
    )
    assert len(result.rows) == 3 and all(row["status"] != "error" for row in result.rows)


def test_what_is_refused(tmp_path, tiny_policy):
    rows(tmp_path)
    with pytest.raises(ConfigError, match="reads text only"):
        PTAGRPOTrainer(tiny_policy(), None, settings(tmp_path / "run"), str(tmp_path / "rows.jsonl"))
    policy = make_policy()
    with pytest.raises(DataError, match="2 image tokens .* for 1 images"):
        policy.generate([chat(png((8, 8)), "<|image_pad|>")], max_new_tokens=1)
    with pytest.raises(DataError, match="prompt 0, image 1: not an image"):
        policy.generate([chat(b"nothing")], max_new_tokens=1)
    with pytest.raises(ConfigError, match="merge_size is 3, the vision tower's is 2"):
        ptagrpo.Policy(
            policy.model,
            policy.config,
            policy.tokenizer,
            image_processor=ImageProcessor(patch_size=2, merge_size=3),
        )


BENCHMARKS = {"mmmu", "mmmu_pro", "emma", "mmk12_physics", "mmk12_chemistry", "mmk12_biology"}


def test_real_rows_become_what_transformers_processor_makes_of_them(shared_data, tmp_path):
    """Prompts of all six multimodal benchmarks, with the real tokenizer, template and preprocessor configuration: token
    ids and pixels equal to transformers' processor on the same row."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from vision_real import questions_of, real_parts

    from ptagrpo.evaluation import make_image_prompt

    ours, processor = real_parts(shared_data, transformers)
    seen = set()
    for name, benchmark, questions in questions_of(shared_data, tmp_path, 3):
        for question in questions:
            messages = make_image_prompt(question, "official", benchmark)
            encoded = ours.encode(messages)
            pictures = [part["image"] for part in messages[0]["content"] if part["type"] == "image"]
            text = ours.tokenizer.apply_chat_template(messages)
            wanted = processor(text=[text], images=pictures, return_tensors="np")
            assert np.array_equal(encoded.ids, wanted["input_ids"][0])
            pixels = np.concatenate([p.processor.patches(p) for p in encoded.pictures])
            assert np.array_equal(pixels, wanted["pixel_values"])
            assert [[1, *p.grid] for p in encoded.pictures] == wanted["image_grid_thw"].tolist()
            seen.add(name)
    assert seen == BENCHMARKS


def test_real_rows_are_evaluated_end_to_end(shared_data, tmp_path):
    """A small random model with the real tokenizer and images, through `evaluate`, for each benchmark."""
    import dataclasses

    from vision_real import questions_of, real_policy

    policy = real_policy(shared_data)
    policy.image_processor = dataclasses.replace(policy.image_processor, max_pixels=200_000)
    for number, (name, benchmark, questions) in enumerate(questions_of(shared_data, tmp_path, 2)):
        small = dataclasses.replace(benchmark, questions=questions)
        result = ptagrpo.evaluate(policy, small, prompt_style="official", max_new_tokens=4, progress=False,
                                  output_dir=tmp_path / str(number))  # fmt: skip
        assert result.name == benchmark.name and len(result.rows) == len(questions)
        assert {row["status"] for row in result.rows} <= {"correct", "wrong", "no_answer"}, name
