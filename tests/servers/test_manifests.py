import base64

import pytest
import yaml

from benchcore.base.errors import ConfigError
from benchcore.servers.kubernetes.manifests import (
    kept_copy,
    labelled,
    manifest_secrets,
    read_manifests,
)
from benchcore.servers.kubernetes.resources import label_selector, label_value, run_labels

LABELS = {"app.kubernetes.io/managed-by": "benchcore", "benchcore.dev/run": "a"}


def read(tmp_path, *texts):
    names = []
    for number, text in enumerate(texts):
        names.append(f"{number}.yaml")
        (tmp_path / names[-1]).write_text(text)
    return read_manifests(names, tmp_path)


def config_map(name, extra=""):
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n{extra}"


def test_documents_of_several_files_know_where_they_stand(tmp_path):
    text = f"# first\n{config_map('a')}---\n---\n# nothing\n---\n\n{config_map('b')}"
    found = read(tmp_path, text, config_map("c"))
    assert [(one.name, one.at) for one in found] == [
        ("a", f"{tmp_path}/0.yaml:2"),
        ("b", f"{tmp_path}/0.yaml:10"),
        ("c", f"{tmp_path}/1.yaml:1"),
    ]


def test_namespaces_and_definitions_come_first_and_the_rest_in_order(tmp_path):
    kinds = ["Deployment", "CustomResourceDefinition", "ServiceAccount", "Service", "Namespace"]
    text = "---\n".join(f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: a}}\n" for kind in kinds)
    assert [one.kind for one in read(tmp_path, text)] == [
        "Namespace",
        "CustomResourceDefinition",
        "ServiceAccount",
        "Deployment",
        "Service",
    ]


def test_lists_are_unfolded(tmp_path):
    text = (
        "apiVersion: v1\nkind: List\nitems:\n"
        "- {apiVersion: v1, kind: A, metadata: {name: a}}\n"
        "- {apiVersion: v1, kind: A, metadata: {name: b}}\n"
    )
    assert [one.name for one in read(tmp_path, text)] == ["a", "b"]


def test_values_are_those_of_json(tmp_path):
    data = (
        "data: {day: 2024-01-01, 8080: port, true: yes, mode: 0644}\n"
        "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\nvariable: $HOME ${HOME}\n"
    )
    (one,) = read(tmp_path, config_map("a", data))
    assert one.body["data"] == {"day": "2024-01-01", "8080": "port", "true": True, "mode": 0o644}
    assert one.body["more"] == {"a": 1, "b": 3}
    assert one.body["variable"] == "$HOME ${HOME}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n", "1: is not an object; write apiVersion, kind and metadata"),
        (
            "\nkind: A\n",
            "2: apiVersion is missing; each document needs apiVersion, kind and metadata.name",
        ),
        (
            "apiVersion: v1\nkind: 3\n",
            "1: kind is missing; each document needs apiVersion, kind and metadata.name",
        ),
        ("apiVersion: v1\nkind: A\n", "1: A: metadata is missing; give metadata.name"),
        (
            "apiVersion: v1\nkind: A\nmetadata: {generateName: a-}\n",
            "1: A: metadata.name is missing; a generated name cannot be applied",
        ),
        (
            "apiVersion: v1\nkind: A\nmetadata: {name: a, labels: b}\n",
            "1: A a: metadata.labels is not what it must be",
        ),
        ("apiVersion: v1\nkind: A\nmetadata: {name: a}\nspec: b\n", "1: A a: spec holds no keys"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "4: is not YAML: c appears twice, first on line 3"),
        ("? [a]\n: 1\n", "1: is not YAML: a key is not a text"),
        (
            "a: 1\nb: [\n",
            (
                "3: is not YAML: while parsing a flow node expected the node content, "
                "but found '<stream end>'"
            ),
        ),
        (f"{config_map('a')}---\n{config_map('a')}", None),
    ],
)
def test_a_fault_is_one_line_with_its_place(tmp_path, text, said):
    said = said or f"5: ConfigMap a appears twice, first at {tmp_path}/0.yaml:1; keep one"
    with pytest.raises(ConfigError) as fault:
        read(tmp_path, text)
    assert str(fault.value) == f"{tmp_path}/0.yaml:{said}"


def test_all_faults_are_told_at_once(tmp_path):
    (tmp_path / "latin").write_bytes(b"a: 1\nb: \xff\n")
    (tmp_path / "empty").write_text("# nothing\n")
    (tmp_path / "none").write_text("kind: A\n")
    with pytest.raises(ConfigError) as fault:
        read_manifests(["missing", "latin", "empty", "none"], tmp_path)
    assert str(fault.value).splitlines() == [
        f"{tmp_path}/missing: No such file or directory; give a YAML file",
        f"{tmp_path}/latin:2: is not UTF-8; save the file as UTF-8",
        f"{tmp_path}/empty: holds no object; write at least one",
        (
            f"{tmp_path}/none:1: apiVersion is missing; each document needs apiVersion, kind "
            "and metadata.name"
        ),
    ]


def body(kind, spec, **metadata):
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", **metadata}, "spec": spec}


POD = {"containers": [{"name": "a", "image": "b"}]}


def test_labels_stand_on_the_object_its_pods_and_its_claims():
    job = {"spec": {"template": {"metadata": {"labels": {"x": "y"}}, "spec": POD}}}
    new = labelled(body("CronJob", {"jobTemplate": job}, labels={"mine": "1"}), LABELS)
    assert new["metadata"]["labels"] == {"mine": "1", **LABELS}
    assert new["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"] == {
        "x": "y",
        **LABELS,
    }
    stateful = {"template": {"spec": POD}, "volumeClaimTemplates": [{"metadata": {"name": "d"}}]}
    new = labelled(body("StatefulSet", stateful), LABELS)
    assert new["spec"]["template"]["metadata"]["labels"] == LABELS
    assert new["spec"]["volumeClaimTemplates"][0]["metadata"] == {"name": "d", "labels": LABELS}
    both = {"leaderTemplate": {"spec": POD}, "workerTemplate": {"spec": POD}}
    new = labelled(body("LeaderWorkerSet", {"leaderWorkerTemplate": both}), LABELS)
    for template in new["spec"]["leaderWorkerTemplate"].values():
        assert template["metadata"]["labels"] == LABELS


def test_the_selector_and_the_original_are_left_alone():
    selector = {"matchLabels": {"app": "a"}}
    old = body("Deployment", {"selector": selector, "template": {"spec": POD}})
    new = labelled(old, LABELS)
    assert new["spec"]["selector"] == {"matchLabels": {"app": "a"}}
    assert "labels" not in old["metadata"]
    assert "metadata" not in old["spec"]["template"]


def test_what_an_older_server_side_apply_does_not_know_is_filled_in():
    resources = {"limits": {"nvidia.com/gpu": 1, "cpu": "2"}}
    ports = [{"containerPort": 1}, {"containerPort": 2, "protocol": "UDP"}]
    pod = {"containers": [{"name": "a", "resources": resources, "ports": ports}]}
    (found,) = labelled(body("Pod", pod), LABELS)["spec"]["containers"]
    assert found["resources"] == {"limits": {"nvidia.com/gpu": "1", "cpu": "2"}}
    assert [port["protocol"] for port in found["ports"]] == ["TCP", "UDP"]
    service = labelled(body("Service", {"ports": [{"port": 80}]}), LABELS)
    assert service["spec"]["ports"] == [{"port": 80, "protocol": "TCP"}]


def test_a_definition_is_labelled_only_itself():
    spec = {"versions": [{"schema": {"spec": {"containers": []}}}]}
    assert labelled(body("CustomResourceDefinition", spec), LABELS)["spec"] == spec


def test_what_only_the_server_writes_is_left_out():
    old = body(
        "Service", {}, uid="1", resourceVersion="2", managedFields=[], annotations={"a": "b"}
    )
    new = labelled({**old, "status": {"x": 1}}, LABELS)
    assert new["metadata"] == {"name": "a", "annotations": {"a": "b"}, "labels": LABELS}
    assert "status" not in new


def test_secrets_are_found_where_they_stand_in_clear():
    encoded = base64.b64encode(b"of the data").decode()
    secret = {**body("Secret", {}), "data": {"a": encoded}, "stringData": {"b": "of the text"}}
    container = {
        "env": [
            {"name": "HF_TOKEN", "value": "of the variable"},
            {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}},
            {"name": "MODEL", "value": "not a secret"},
        ],
        "args": ["--api-key", "of the word", "--hf-token=of the flag", "--max-tokens", "100000"],
        "command": ["serve", "--tokenizer", "not a secret either"],
    }
    values = manifest_secrets([secret, body("Pod", {"containers": [container]})])
    assert sorted(values) == sorted(
        [encoded, "of the data", "of the text", "of the variable", "of the word", "of the flag"]
    )


def test_the_kept_copy_is_yaml_without_the_secrets():
    secret = {**body("Secret", {}), "data": {"a": "eHl6eHl6"}, "stringData": {"b": "xx"}}
    args = ["--api-key=aaaaaaaa", "--hf-token", "bbbbbbbb", "see aaaaaaaa", 3]
    pod = body("Pod", {"containers": [{"args": args, "env": [{"name": "KEY", "value": "c"}]}]})
    shown_secret, shown_pod = yaml.safe_load_all(kept_copy([secret, pod]))
    assert shown_secret["data"] == {"a": "***"}
    assert shown_secret["stringData"] == {"b": "***"}
    assert shown_pod["spec"]["containers"] == [
        {
            "args": ["--api-key=***", "--hf-token", "***", "see ***", 3],
            "env": [{"name": "KEY", "value": "***"}],
        }
    ]
    assert secret["stringData"] == {"b": "xx"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain-1.2_3", "plain-1.2_3"),
        ("hybrid / one: two", "hybrid-one-two"),
        ("-_.edge._-", "edge"),
        ("日本", ""),
        ("x" * 63, "x" * 63),
        (
            "x" * 64,
            f"{'x' * 54}-7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c"[:63],
        ),
    ],
)
def test_label_values_are_legal(text, value):
    assert label_value(text) == value


def test_long_names_that_differ_late_stay_two():
    assert label_value("x" * 70 + "a") != label_value("x" * 70 + "b")


def test_labels_always_say_whose_they_are():
    assert run_labels({"benchcore.dev/run": "a b"}) == {
        "benchcore.dev/run": "a-b",
        "app.kubernetes.io/managed-by": "benchcore",
    }
    assert label_selector() == "app.kubernetes.io/managed-by=benchcore"
    assert label_selector("a b") == "app.kubernetes.io/managed-by=benchcore,benchcore.dev/run=a-b"
