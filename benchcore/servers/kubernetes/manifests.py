"""Manifests: the objects that a scenario's YAML files hold, as they will be applied."""

from __future__ import annotations

import base64
import binascii
import copy
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from benchcore.base.errors import ConfigError
from benchcore.base.secrets import MASK, is_secret, masked_text, secret_values
from benchcore.config.document import SMALL, FastLoader, check_expansion, not_yaml, read_yaml
from benchcore.servers.kubernetes.resources import Json, is_custom, name_of, namespace_of

CRD: Final = "CustomResourceDefinition"
LAST_WAVE: Final = 3
_WAVES: Final = {
    "Namespace": 0,
    CRD: 1,
    # What admission looks at: a pod that comes before is refused, not kept waiting.
    "ServiceAccount": 2,
    "PriorityClass": 2,
    "RuntimeClass": 2,
    "ResourceQuota": 2,
    "LimitRange": 2,
}
# What only the server writes; it stands in files that were read from a cluster.
_SERVERS: Final = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation")
_SECRET_FLAG: Final = re.compile(
    r"^--?(?:[\w-]*[-_])?(?:key|token|secret|passw(?:or)?d|credentials?)$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """An object to apply.

    Args:
        path: the file.
        line: where it begins there, from 1.
        body: what it is.
    """

    path: Path
    line: int
    body: Json

    @property
    def api_version(self) -> str:
        """Its group and version."""
        return str(self.body["apiVersion"])

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        """Its name."""
        return name_of(self.body)

    @property
    def namespace(self) -> str | None:
        """The namespace it names itself."""
        return namespace_of(self.body)

    @property
    def at(self) -> str:
        """Its file and line."""
        return f"{self.path}:{self.line}"

    @property
    def wave(self) -> int:
        """When it is applied: after all of a lower wave; removed the other way round."""
        return wave_of(self.kind)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def wave_of(kind: str) -> int:
    """Return when objects of a kind are applied."""
    return _WAVES.get(kind, LAST_WAVE)


class _Strict(yaml.constructor.SafeConstructor):
    """YAML as the API server's JSON: every key is text, no key is there twice, no dates."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    problem="a key is not a text", problem_mark=key.start_mark
                )
            if key.value in lines:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value} appears twice, first on line {lines[key.value]}",
                    problem_mark=key.start_mark,
                )
            lines[key.value] = key.start_mark.line + 1
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


_RESOLVERS = {
    first: [(tag, known) for tag, known in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Loader(_Strict, yaml.SafeLoader):
    """Says best what is wrong."""

    yaml_implicit_resolvers = _RESOLVERS


class _LargeLoader(_Strict, FastLoader):  # type: ignore[misc]
    """For a large file: the other one takes 20 s for 4 MB."""

    yaml_implicit_resolvers = _RESOLVERS


def read_manifests(files: Sequence[str], base: Path) -> list[Manifest]:
    """Read the objects of several files, each of several documents.

    Args:
        files: relative to the folder.
        base: the folder.

    Raises:
        ConfigError: a file cannot be read, or holds what cannot be applied; a line for each fault.
    """
    found: list[Manifest] = []
    faults: list[str] = []
    for file in files:
        path = base / Path(file).expanduser()
        try:
            count = len(found)
            found += _objects(path)
        except ConfigError as error:
            faults.append(str(error))
        else:
            if len(found) == count:
                faults.append(f"{path}: holds no object; write at least one")
    first: dict[tuple[str, str | None, str], Manifest] = {}
    for one in found:
        if fault := _fault(one):
            faults.append(f"{one.at}: {fault}")
            continue
        key = (f"{one.api_version.partition('/')[0]} {one.kind}", one.namespace, one.name)
        earlier = first.setdefault(key, one)
        if earlier is not one:
            faults.append(f"{one.at}: {one} appears twice, first at {earlier.at}; keep one")
    if faults:
        raise ConfigError("\n".join(faults))
    return sorted(found, key=lambda one: one.wave)


def _objects(path: Path) -> Iterator[Manifest]:
    text = read_yaml(path)
    kind: Any = _Loader if len(text) <= SMALL else _LargeLoader
    loader: Any = None
    try:
        loader = kind(text)
        while loader.check_node():
            node: Any = loader.get_node()
            check_expansion(path, node)
            body = loader.construct_document(node)
            if body is not None:
                yield from _unfolded(path, node.start_mark.line + 1, body)
    except yaml.MarkedYAMLError as error:
        raise not_yaml(path, error) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"{path}: is not YAML: {problem}") from None
    finally:
        if loader is not None:
            loader.dispose()


def _unfolded(path: Path, line: int, body: Any) -> Iterator[Manifest]:
    """Give an object, or those of a `List`."""
    if isinstance(body, dict) and body.get("kind") == "List":
        for item in body.get("items") or ():
            yield from _unfolded(path, line, item)
    else:
        yield Manifest(path, line, body)


def _fault(one: Manifest) -> str | None:
    body: Any = one.body
    if not isinstance(body, dict):
        return "is not an object; write apiVersion, kind and metadata"
    for key in ("apiVersion", "kind"):
        if not isinstance(body.get(key), str) or not body[key]:
            return f"{key} is missing; each document needs apiVersion, kind and metadata.name"
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return f"{one.kind}: metadata is missing; give metadata.name"
    if not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return f"{one.kind}: metadata.name is missing; a generated name cannot be applied"
    for key, kind in (("namespace", str), ("labels", dict), ("annotations", dict)):
        if metadata.get(key) is not None and not isinstance(metadata[key], kind):
            return f"{one}: metadata.{key} is not what it must be"
    if not isinstance(body.get("spec", {}), dict | None):
        return f"{one}: spec holds no keys"
    return None


def labelled(body: Json, labels: Mapping[str, str]) -> Json:
    """Return a copy of an object with labels on it and on every pod and claim it makes."""
    new = copy.deepcopy(body)
    for name in _SERVERS:
        new["metadata"].pop(name, None)
    new.pop("status", None)
    _label(new, labels)
    if new["kind"] != CRD:  # its schema may look like anything
        _label_templates(new.get("spec"), labels)
    if not is_custom(new["apiVersion"]):
        _fill_in(new.get("spec"))
    return new


def _label(holder: Json, labels: Mapping[str, str]) -> None:
    metadata = holder["metadata"] = holder.get("metadata") or {}
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}


def _label_templates(node: Any, labels: Mapping[str, str]) -> None:
    # A pod's template is known by its form: operators have theirs in many places.
    if isinstance(node, dict):
        spec = node.get("spec")
        if isinstance(spec, dict) and isinstance(spec.get("containers"), list):
            _label(node, labels)
        for claim in node.get("volumeClaimTemplates") or ():
            if isinstance(claim, dict):
                _label(claim, labels)  # they outlive the StatefulSet
        for value in node.values():
            _label_templates(value, labels)
    elif isinstance(node, list):
        for value in node:
            _label_templates(value, labels)


def _fill_in(node: Any) -> None:
    # What older API servers know elsewhere, but not in a server-side apply: that a quantity may
    # be written as a number, and that a port without a protocol is one of TCP.
    if isinstance(node, dict):
        resources = node.get("resources")
        if isinstance(resources, dict):
            for amounts in (resources.get("limits"), resources.get("requests")):
                if isinstance(amounts, dict):
                    amounts.update(
                        {
                            name: str(amount)
                            for name, amount in amounts.items()
                            if type(amount) in {int, float}
                        }
                    )
        for port in node["ports"] if isinstance(node.get("ports"), list) else ():
            if isinstance(port, dict) and ("containerPort" in port or "port" in port):
                port.setdefault("protocol", "TCP")
        for value in node.values():
            _fill_in(value)
    elif isinstance(node, list):
        for value in node:
            _fill_in(value)


def manifest_secrets(bodies: Sequence[Json]) -> list[str]:
    """Return the values that objects hold and no log may show, longest first."""
    found: dict[str, str] = {}
    for body in bodies:
        if body.get("kind") == "Secret":
            for value in (body.get("stringData") or {}).values():
                found[f"SECRET_{len(found)}"] = str(value)
            for value in (body.get("data") or {}).values():
                found[f"SECRET_{len(found)}"] = str(value)
                found[f"SECRET_{len(found)}"] = _decoded(str(value))
        for holder, key in _hidden(body):
            found[f"SECRET_{len(found)}"] = str(holder[key]).partition("=")[2] or str(holder[key])
    return secret_values(found)


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().strip()
    except (binascii.Error, ValueError):
        return value


def _hidden(node: Any) -> Iterator[tuple[Any, Any]]:
    """Give where literal secrets stand: variables and arguments of containers."""
    if isinstance(node, dict):
        for one in node.get("env") or () if isinstance(node.get("env"), list) else ():
            if isinstance(one, dict) and is_secret(str(one.get("name", ""))) and one.get("value"):
                yield one, "value"
        for words in (node.get("command"), node.get("args")):
            if isinstance(words, list):
                yield from _hidden_words(words)
        for value in node.values():
            yield from _hidden(value)
    elif isinstance(node, list):
        for value in node:
            yield from _hidden(value)


def _hidden_words(words: list[Any]) -> Iterator[tuple[Any, Any]]:
    for index, word in enumerate(words):
        flag, equals, _ = str(word).partition("=")
        if _SECRET_FLAG.match(flag):
            if equals:
                yield words, index
            elif index + 1 < len(words):
                yield words, index + 1


def kept_copy(bodies: Sequence[Json]) -> bytes:
    """Return objects as YAML, secrets masked."""
    shown = copy.deepcopy(list(bodies))
    for body in shown:
        if body.get("kind") == "Secret":
            for key in ("data", "stringData"):
                if isinstance(body.get(key), dict):
                    body[key] = dict.fromkeys(body[key], MASK)
        for holder, key in _hidden(body):
            flag, equals, _ = str(holder[key]).partition("=")
            is_word = isinstance(holder, list) and equals and _SECRET_FLAG.match(flag)
            holder[key] = f"{flag}={MASK}" if is_word else MASK
    values = manifest_secrets(bodies)
    shown = [_masked(body, values) for body in shown]
    return yaml.safe_dump_all(shown, sort_keys=False, allow_unicode=True, width=100).encode()


def _masked(node: Any, values: Sequence[str]) -> Any:
    # Not the text as a whole: a mask in an unquoted place would be no YAML.
    if isinstance(node, dict):
        return {key: _masked(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_masked(value, values) for value in node]
    return masked_text(node, values) if isinstance(node, str) else node
