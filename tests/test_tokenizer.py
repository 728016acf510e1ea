"""Tokenizers: the real Qwen2.5 and Qwen3 ones as transformers has them, exact token bytes, files."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from ptagrpo.chat import render
from ptagrpo.errors import CheckpointError, ConfigError, DataError
from ptagrpo.token_bytes import byte_level_alphabet, token_byte_rule
from ptagrpo.tokenizer import Tokenizer

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "a <b> & 'c'",
            "parameters": {"type": "object", "properties": {}},
        },
    }
]
CHATS = [
    [{"role": "user", "content": "What is 1 + 1?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi\n"}],
    [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb", "tool_calls": None},
        {"role": "user", "content": "c <é>"},
    ],
    [
        {"role": "user", "content": "add"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"x": "é"}}}],
        },
        {"role": "tool", "content": "3"},
        {"role": "tool", "content": "4"},
    ],
    [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r", "reasoning": "because"}],
]
ODD_TEXTS = [
    "",
    " ",
    "\n\n  \t x\r\n",
    "héllo wörld e\u0301 \u212b 你好，世界 🙂🇩🇪 \u00a0\u3000.",
    "I'm we'LL 'S 1234567 3.14 x_1 !?!\n",
    "<|im_start|>user\n<|im_end|><tool_call>{}</tool_call><|fim_prefix|>",
    "<plan> a </plan> <think> b </think>",
    "\\boxed{\\frac{1}{2}} $$x^2$$",
]


def real_texts(shared_data) -> list[str]:
    """Some 160 texts: problems and model responses full of LaTeX, and odd ones."""
    rows = (shared_data / "traces" / "math_cot_100x8.jsonl").read_text().splitlines()[::8]
    records = [json.loads(row) for row in rows]
    texts = [r["question"] for r in records] + [t for r in records for t in r["code"][:3]]
    problems = (shared_data / "maths" / "math500.jsonl").read_text().splitlines()[:40]
    return ODD_TEXTS + texts + [json.loads(p)["solution"] for p in problems]


@pytest.fixture(scope="module", params=["qwen2.5", "qwen3"])
def real(request, shared_data, tmp_path_factory):
    """(name, folder) of a real tokenizer. Qwen3 has Qwen2.5's vocabulary, and more added tokens."""
    source = shared_data / "checkpoints"
    folder = tmp_path_factory.mktemp("tokenizer") / request.param
    shutil.copytree(source / request.param, folder)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(source / "qwen2.5" / name, folder / name)
    return request.param, folder


@pytest.fixture(scope="module")
def loaded(real) -> Tokenizer:
    return Tokenizer.from_folder(real[1])


def chat_variants(name):
    """Every chat with and without the opening of the assistant's turn, tools, and thinking."""
    for i, chat in enumerate(CHATS):
        for prompt in (False, True):
            yield f"{i} {prompt}", chat, {"add_generation_prompt": prompt}
        yield f"{i} tools", chat, {"add_generation_prompt": True, "tools": TOOLS}
        if name == "qwen3":
            yield f"{i} no thinking", chat, {"add_generation_prompt": True, "enable_thinking": False}


def digest(value) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()


def stored_expectations(name, encode, render_chat, texts) -> dict:
    """What `fixtures/tokenizers.json` holds for a tokenizer (see make_tokenizer_fixtures.py)."""
    return {
        "ids": [encode(text) for text in ODD_TEXTS],
        "digest_of_all_ids": digest([encode(text) for text in texts]),
        "chats": {key: render_chat(chat, **options) for key, chat, options in chat_variants(name)},
    }


def test_ids_and_renderings_as_stored_from_transformers(real, loaded, shared_data, fixtures_dir):
    expected = json.loads((fixtures_dir / "tokenizers.json").read_text(encoding="utf-8"))[real[0]]
    ours = stored_expectations(real[0], loaded.encode, loaded.apply_chat_template, real_texts(shared_data))
    assert ours == expected


def test_ids_and_renderings_as_transformers_gives_them_now(real, loaded, shared_data):
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed: stored ids are compared"
    )
    theirs = transformers.AutoTokenizer.from_pretrained(real[1])
    for text in real_texts(shared_data):
        ids = loaded.encode(text)
        assert ids == theirs.encode(text, add_special_tokens=False)
        assert loaded.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
        assert loaded.decode(ids, skip_special_tokens=False) == theirs.decode(ids)
    for _, chat, options in chat_variants(real[0]):
        assert loaded.apply_chat_template(chat, **options) == theirs.apply_chat_template(
            chat, tokenize=False, **options
        )
    assert (loaded.eos_token_id, loaded.pad_token_id, loaded.bos_token_id) == (
        theirs.eos_token_id,
        theirs.pad_token_id,
        theirs.bos_token_id,
    )
    assert loaded.vocab_size == len(theirs)


def joined_bytes(tokenizer, ids, size=None) -> bytes:
    table, offsets = tokenizer.token_bytes(size)
    return b"".join(table[offsets[i] : offsets[i + 1]].tobytes() for i in ids)


def test_bytes_of_real_tokens_are_the_decoded_text(real, loaded, shared_data):
    for text in real_texts(shared_data):
        ids = loaded.encode(text)
        assert joined_bytes(loaded, ids).decode("utf-8") == loaded.decode(ids, skip_special_tokens=False)
    table, offsets = loaded.token_bytes(152064)
    assert table.dtype == np.uint8 and offsets.dtype == np.int64 and offsets.shape == (152065,)
    assert offsets[0] == 0 and offsets[-1] == table.size == offsets[loaded.vocab_size]
    assert (np.diff(offsets)[: loaded.vocab_size] > 0).all()
    assert loaded.token_bytes(152064)[0] is table
    with pytest.raises(ConfigError, match="smaller than the tokenizer's"):
        loaded.token_bytes(1000)


def test_eos_ids_come_from_all_three_places(real, loaded):
    assert loaded.eos_token_ids == [151645, 151643]
    assert loaded.special_tokens == {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}


def test_saved_files_are_read_back_alike(real, loaded, shared_data, tmp_path):
    loaded.save(tmp_path / "saved")
    names = {p.name for p in (tmp_path / "saved").iterdir()}
    assert names == {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
    }
    again = Tokenizer.from_folder(tmp_path / "saved")
    assert again.fingerprint() == loaded.fingerprint()
    texts = real_texts(shared_data)
    assert again.encode_batch(texts) == loaded.encode_batch(texts) == [loaded.encode(t) for t in texts]
    for _, chat, options in chat_variants(real[0]):
        assert again.apply_chat_template(chat, **options) == loaded.apply_chat_template(chat, **options)
    try:
        import transformers
    except ImportError:
        return
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert [theirs.encode(t, add_special_tokens=False) for t in texts] == loaded.encode_batch(texts)
    assert theirs.apply_chat_template(CHATS[0], tokenize=False) == loaded.apply_chat_template(CHATS[0], False)


def word_level(decoder=None):
    words = ["<unk>", "a", "b", ".", "##c", "do", "not", "'s"]
    backend = tokenizers.Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_tokens(["</plan>"])
    if decoder is not None:
        backend.decoder = decoder
    return Tokenizer(backend)


@pytest.mark.parametrize(
    "decoder",
    [None, decoders.WordPiece(prefix="##", cleanup=False), decoders.WordPiece(prefix="##", cleanup=True)],
    ids=["none", "wordpiece", "wordpiece-cleanup"],
)
def test_bytes_of_words_carry_their_space(decoder):
    tokenizer = word_level(decoder)
    generator = np.random.default_rng(0)
    assert joined_bytes(tokenizer, [tokenizer.token_to_id("</plan>")]) == b" </plan>"
    for _ in range(300):
        ids = generator.integers(0, tokenizer.vocab_size, 12).tolist()
        ids[0] = 1
        text = joined_bytes(tokenizer, ids).decode()
        assert text == " " + tokenizer.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize("kind", ["byte fallback", "metaspace"])
def test_bytes_of_sentencepiece_tokens(kind):
    pieces = [
        "<unk>",
        *(f"<0x{i:02X}>" for i in range(256)),
        *"\u2581abc",
        "\u2581a",
        "ab",
        "\u2581\u2581",
        "<0xZZ>",
    ]
    backend = tokenizers.Tokenizer(
        models.BPE(vocab={p: i for i, p in enumerate(pieces)},
                   merges=[("\u2581", "a"), ("a", "b"), ("\u2581", "\u2581")],
                   byte_fallback=True, unk_token="<unk>")
    )  # fmt: skip
    if kind == "byte fallback":
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
        steps = [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
        backend.decoder = decoders.Sequence(steps)
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer = Tokenizer(backend)
    for text in ("a b", "ab  c", "aé\n你🙂 b", "cab"):
        ids = tokenizer.encode(text)
        assert joined_bytes(tokenizer, ids) == b" " + text.encode()
        assert tokenizer.decode(ids) == text
    assert joined_bytes(tokenizer, [1 + 0x0A, 1 + 0xFF]) == b"\n\xff"
    assert joined_bytes(tokenizer, [pieces.index("<0xZZ>")]) == b"<0xZZ>"


def test_byte_level_alphabet_is_that_of_the_library():
    alphabet = byte_level_alphabet()
    assert set(alphabet) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(alphabet.values()) == list(range(256))
    decoder = decoders.ByteLevel()
    for character, byte in alphabet.items():
        if byte < 128:
            assert decoder.decode([character]) == chr(byte)
    rule = token_byte_rule({"type": "ByteLevel"})
    assert rule("\u0120a") == b" a" and rule("\u00c3\u00a9") == "é".encode() and rule("a b") == b"a b"


def test_decoders_whose_bytes_are_not_known_are_refused():
    with pytest.raises(ConfigError, match="CTC"):
        word_level(decoders.CTC()).token_bytes()


def test_bos_is_added_once(byte_tokenizer):
    tokenizer = byte_tokenizer()
    assert tokenizer.encode_prompt("a") == [97]
    backend = tokenizer.backend
    backend.add_special_tokens(["<s>"])
    bos = backend.token_to_id("<s>")
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", bos)]
    )
    with_bos = Tokenizer(backend, config={"bos_token": "<s>", "eos_token": {"content": "<eos>"}})
    assert with_bos.encode_prompt("a") == [bos, 97] == with_bos.encode_prompt("<s>a")
    assert with_bos.encode("a") == [97] and with_bos.encode("a", add_special_tokens=True) == [bos, 97]
    assert with_bos.eos_token_ids == [262]


def test_text_of_odd_ids(byte_tokenizer):
    tokenizer = byte_tokenizer()
    assert tokenizer.decode([97, 262, 98, 5000]) == "ab"
    assert tokenizer.decode(np.array([97, 262]), skip_special_tokens=False) == "a<eos>"
    assert tokenizer.decode([195]) == "\ufffd"


def test_what_cannot_be_read_is_named(tmp_path, byte_tokenizer):
    with pytest.raises(CheckpointError, match="no tokenizer.json"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="sentencepiece"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "vocab.json").write_text("{}")
    (tmp_path / "merges.txt").write_text("")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    with pytest.raises(CheckpointError, match="tokenizer_class 'GPT2Tokenizer' is not one of Qwen2Tokenizer"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(CheckpointError, match="vocab.json.*cannot read the vocabulary"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="tokenizer.json: cannot read the tokenizer"):
        Tokenizer.from_folder(tmp_path)
    byte_tokenizer().save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    for change, message in (
        ({"eos_token": "<none>"}, "eos_token '<none>' is not a token"),
        (
            {"added_tokens_decoder": {"300": {"content": "<new>"}}},
            "'<new>' is listed with id 300 but gets id 266",
        ),
    ):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(CheckpointError, match=f"tokenizer_config.json: .*{message}"):
            Tokenizer.from_folder(tmp_path)


def test_template_from_each_place(tmp_path, byte_tokenizer):
    tokenizer = byte_tokenizer(chat_template=None)
    tokenizer.save(tmp_path)
    assert Tokenizer.from_folder(tmp_path).chat_template is None
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": named}))
    assert Tokenizer.from_folder(tmp_path).chat_template == "D"
    (tmp_path / "chat_template.json").write_text('{"chat_template": "J"}')
    assert Tokenizer.from_folder(tmp_path).chat_template == "J"
    (tmp_path / "chat_template.jinja").write_text("X")
    assert Tokenizer.from_folder(tmp_path).chat_template == "X"


def test_chat_errors_and_extensions(byte_tokenizer):
    user = [{"role": "user", "content": "x"}]
    with pytest.raises(DataError, match="at least one message"):
        render("x", [])
    with pytest.raises(DataError, match="message 0: expected a dict"):
        render("x", ["hi"])
    with pytest.raises(DataError, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}", user)
    with pytest.raises(DataError, match="failed"):
        render("{% if %}", user)
    assert render("{% generation %}a{% endgeneration %}b", user) == "ab"
    assert (
        render("{% for i in [1,2,3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", user) == "1"
    )
    assert render("{{ {'a': '<é>'} | tojson }}", user) == '{"a": "<é>"}'
    assert len(render("{{ strftime_now('%Y') }}", user)) == 4
    assert (
        render("{{ bos_token }}{{ x }}", user, special_tokens={"bos_token": "<s>", "x": "1"}, x="2") == "<s>2"
    )
    with pytest.raises(ConfigError, match="no chat template"):
        byte_tokenizer(chat_template=None).apply_chat_template(user)
    assert byte_tokenizer().apply_chat_template(user, chat_template="Z") == "Z"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='x') }}",
        "{{ raise_exception.__globals__ }}",
        "{% set ns = namespace(__init__=1) %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ cycler.__init__.__globals__ }}",
    ],
)
def test_templates_cannot_leave_the_sandbox(template):
    """Refused, or undefined and so rendered as nothing; reaching an object would render something."""
    message = {"role": "user", "content": "x"}
    try:
        assert render(template, [message]) == ""
    except DataError as error:
        assert "chat template failed" in str(error)
    assert message == {"role": "user", "content": "x"}
