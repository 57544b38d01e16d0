#!/usr/bin/env bash
# Checks packaging/kubernetes against the published schemas of Kubernetes: the oldest version that it is for, and the newest.
#
#   tests/kubernetes.sh
#
# And whether selectors, ports and mounts name what is there, which no schema knows. Needs kubernetes-validate (pip install
# kubernetes-validate). No cluster is asked. That ronde takes the settings of the ConfigMap is a test in
# tests/integration/u_docs.rs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=python3
"$python" -c 'import kubernetes_validate' 2>/dev/null || {
    echo "packaging/kubernetes was NOT checked: kubernetes-validate is missing (pip install kubernetes-validate)"
    exit 0
}
files=(packaging/kubernetes/*.yaml)
resources=$(grep -h '^kind:' "${files[@]}" | wc -l)
validate() { "$python" -m kubernetes_validate --strict "$@"; } # strict: a field that no schema has is a mistake

belongs_together() {
    "$python" - "$@" <<'PYTHON'
import sys, yaml

resources = [it for name in sys.argv[1:] for it in yaml.safe_load_all(open(name))]
pods = {it["metadata"]["name"]: it["spec"]["template"] for it in resources if it["kind"] == "Deployment"}
maps = {it["metadata"]["name"]: it["data"] for it in resources if it["kind"] == "ConfigMap"}
mistakes = []


def expect(is_so, what):
    if not is_so:
        mistakes.append(what)


def selected(labels):
    """The pods that have all of these labels."""
    return [pod for pod in pods.values() if labels.items() <= pod["metadata"]["labels"].items()]


def has_port(labels, port):
    """Whether a container of these pods has this port, by its name or by its number."""
    containers = [container for pod in selected(labels) for container in pod["spec"]["containers"]]
    return any(port in (it["name"], it["containerPort"]) for container in containers for it in container["ports"])


def labels_in(node):
    """All matchLabels and selectors of this project's pods, wherever they are."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("matchLabels", "selector") and "app.kubernetes.io/name" in value:
                yield value
            else:
                yield from labels_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from labels_in(value)


for it in resources:
    name = f'{it["kind"]}/{it["metadata"]["name"]}'
    for labels in labels_in(it.get("spec")):
        expect(selected(labels), f"{name} selects no pod: {labels}")
    if it["kind"] == "Service":
        for port in it["spec"]["ports"]:
            expect(has_port(it["spec"]["selector"], port["targetPort"]), f"{name}: {port}")
    if it["kind"] == "NetworkPolicy":
        for port in (port for rule in it["spec"]["ingress"] for port in rule["ports"]):
            expect(has_port(it["spec"]["podSelector"]["matchLabels"], port["port"]), f"{name}: {port}")
for name, pod in pods.items():
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    for volume in volumes.values():
        expect("configMap" not in volume or volume["configMap"]["name"] in maps, f"{name}: {volume}")
    for container in pod["spec"]["containers"]:
        expect({mount["name"] for mount in container.get("volumeMounts", [])} == set(volumes), f"{name}: its mounts")
        waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        # 8 s: --shutdown-grace.
        expect(waits + 8 + 2 <= pod["spec"]["terminationGracePeriodSeconds"], f"{name}: killed before it has ended")
for mistake in mistakes:
    print(mistake)
sys.exit(bool(mistakes))
PYTHON
}

# Whether it would see a mistake: one field that does not exist, one with a value of the wrong kind.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for mistake in s/periodSeconds:/periodSecond:/ 's/replicas: 2/replicas: two/'; do
    sed "$mistake" packaging/kubernetes/ronde.yaml >"$scratch/mistake.yaml"
    ! validate "$scratch/mistake.yaml" >/dev/null 2>&1 || { echo "kubernetes.sh: $mistake is not seen"; exit 1; }
done
for mistake in 's/targetPort: https/targetPort: htps/' 's/configMap: {name: ronde}/configMap: {name: rond}/' \
    's/name: app}/name: ap}/' 's/terminationGracePeriodSeconds: 15/terminationGracePeriodSeconds: 12/'; do
    sed "$mistake" packaging/kubernetes/ronde.yaml >"$scratch/mistake.yaml"
    ! belongs_together "$scratch/mistake.yaml" packaging/kubernetes/app.yaml >/dev/null 2>&1 \
        || { echo "kubernetes.sh: $mistake is not seen"; exit 1; }
done
belongs_together "${files[@]}"
for version in 1.30 "$("$python" -c 'import kubernetes_validate as k; print(k.latest_version())')"; do
    passed=$(validate --kubernetes-version "$version" "${files[@]}") || { echo "$passed"; exit 1; }
    [ "$(grep -c ' passed ' <<<"$passed")" = "$resources" ] || { echo "$passed"; exit 1; }
    echo "packaging/kubernetes: $resources resources are valid in Kubernetes $version"
done
