"""A really trained model: llama2.c's stories260K, converted, must tell its published story exactly."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from ptagrpo import _core
from ptagrpo.errors import CheckpointError
from ptagrpo.llama2c import BOS, EOS, convert, read_model, read_tokenizer, read_vocabulary
from ptagrpo.policy import Policy


@pytest.fixture(scope="module")
def source(shared_data):
    return shared_data / "checkpoints" / "stories260K"


@pytest.fixture(scope="module")
def stories(source, tmp_path_factory) -> Policy:
    folder = convert(
        source / "stories260K.bin", source / "tok512.bin", tmp_path_factory.mktemp("s") / "model"
    )
    return Policy.from_pretrained(folder)


@pytest.fixture(scope="module")
def published(source) -> str:
    text = (source / "stories260K.md").read_text()
    return text.split("-t 0.0\n")[1].split("\n```")[0]


def llama2c_encode(text: str, source) -> list[int]:
    """What llama2.c's encoder does, written plainly: the slow twin of the converted tokenizer."""
    vocabulary = read_vocabulary(source / "tok512.bin", 512)
    ids = {piece: index for index, piece in enumerate(vocabulary.texts)}
    tokens = [ids[b" "]] if text else []
    for character in text:
        data = character.encode("utf-8")
        tokens += [ids[data]] if data in ids else [byte + 3 for byte in data]
    while True:
        best = None
        for i in range(len(tokens) - 1):
            joined = ids.get(vocabulary.texts[tokens[i]] + vocabulary.texts[tokens[i + 1]])
            if joined is not None and (best is None or vocabulary.scores[joined] > best[0]):
                best = (vocabulary.scores[joined], i, joined)
        if best is None:
            return tokens
        tokens[best[1] : best[1] + 2] = [best[2]]


def test_the_published_greedy_text_token_for_token(stories, published, source):
    completion = stories.generate([""], max_new_tokens=256, temperature=0)[0][0]
    assert completion.text == published
    assert len(completion.token_ids) == 256 and completion.finish_reason == "length"
    assert completion.token_ids.tolist() == llama2c_encode(published, source)[:256]
    assert stories.tokenizer.encode_prompt("") == [BOS]


def test_greedy_generation_agrees_with_the_training_forward_pass(stories, published):
    """Every token of the story is the argmax of the logits that training computes."""
    ids = np.array(stories.tokenizer.encode_prompt(published), np.int32)
    forest = _core.Forest(ids, np.array([0, ids.size], np.int32), np.array([-1], np.int32))
    logits = stories.model.logits(forest, np.arange(ids.size - 1, dtype=np.int32))
    assert (logits.argmax(1) == ids[1:]).all()


def test_the_loss_is_that_of_a_trained_model(stories, published):
    """The published validation loss is 1.2968; its own greedy story is likelier than that, noise is not."""
    ids = stories.tokenizer.encode_prompt(published)
    story = -stories.logprobs([ids])[0].mean()
    noise = -stories.logprobs([np.random.default_rng(0).permutation(ids)])[0].mean()
    assert 0.1 < story < 1.2968 < noise


def test_it_goes_on_from_a_prompt_and_stops_on_a_string(stories, published):
    start, stop = published[: published.index(" Lily")], "park."
    completion = stories.generate([start], max_new_tokens=100, temperature=0, stop=[stop])[0][0]
    assert completion.finish_reason == "stop"
    assert f"{start} {completion.text}" == published[: published.index(stop) + len(stop)]


def test_the_tokenizer_encodes_as_llama2c_does(stories, published, source, shared_data):
    rows = (shared_data / "maths" / "gsm8k_test.jsonl").read_text().splitlines()[:60]
    texts = [
        published,
        "",
        " ",
        "  two  spaces ",
        "\n\ttab",
        "héllo 你好 🙂",
        *(json.loads(r)["question"] for r in rows),
    ]
    generator = np.random.default_rng(0)
    texts += ["".join(generator.choice(list("abetsh \n.,'"), 40)) for _ in range(200)]
    for text in texts:
        ids = stories.tokenizer.encode(text)
        assert ids == llama2c_encode(text, source)
        assert stories.tokenizer.decode(ids) == text
        table, offsets = stories.tokenizer.token_bytes()
        joined = b"".join(table[offsets[i] : offsets[i + 1]].tobytes() for i in ids)
        assert joined.decode("utf-8") == (" " + text if text else "")


def test_transformers_reads_the_converted_folder(stories, published, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    stories.save(tmp_path / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float64)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    ids = tokenizer.encode(published)
    assert ids == stories.tokenizer.encode_prompt(published)
    with torch.no_grad():
        logprobs = torch.log_softmax(model(torch.tensor([ids])).logits[0, :-1], -1)
    expected = logprobs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].numpy()
    np.testing.assert_allclose(stories.logprobs([ids])[0], expected, rtol=0, atol=2e-5)
    assert model.generation_config.eos_token_id == [BOS, EOS]


def test_damaged_files_are_named(source, tmp_path):
    weights, vocabulary = (source / n for n in ("stories260K.bin", "tok512.bin"))
    broken = tmp_path / "broken.bin"

    def check(data, read, message):
        broken.write_bytes(data)
        with pytest.raises(CheckpointError, match=f"broken.bin: .*{message}"):
            read(broken)

    data = weights.read_bytes()
    check(data[:-4], read_model, "has .* bytes, a llama2.c model of its sizes has")
    check(data[:10], read_model, "less than a llama2.c header")
    check(struct.pack("<I6i", 0x616B3432, 1, 2, 3, 4, 5, 6) + data[28:], read_model, "not a llama2.c model")
    data = vocabulary.read_bytes()
    check(data[:-3], lambda f: read_tokenizer(f, 512), "ends within token 511 of 512")
    check(data + b"x", lambda f: read_tokenizer(f, 512), "1 bytes left after 512 tokens")
    check(data, lambda f: read_tokenizer(f, 513), "ends within token 512")
    with pytest.raises(CheckpointError, match="nothing.bin: cannot read"):
        read_model(tmp_path / "nothing.bin")
    assert not (tmp_path / "model").exists()
