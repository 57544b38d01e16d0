#!/usr/bin/env bash
# Checks packaging/kubernetes against the published schemas of Kubernetes: the oldest version that it is for, and the newest.
#
#   tests/kubernetes.sh
#
# Needs kubernetes-validate (pip install kubernetes-validate). No cluster is asked. That ronde takes the settings of the
# ConfigMap is a test in tests/integration/u_docs.rs.
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

# Whether it would see a mistake: one field that does not exist, one with a value of the wrong kind.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for mistake in s/periodSeconds:/periodSecond:/ 's/replicas: 2/replicas: two/'; do
    sed "$mistake" packaging/kubernetes/ronde.yaml >"$scratch/mistake.yaml"
    ! validate "$scratch/mistake.yaml" >/dev/null 2>&1 || { echo "kubernetes.sh: $mistake is not seen"; exit 1; }
done
for version in 1.30 "$("$python" -c 'import kubernetes_validate as k; print(k.latest_version())')"; do
    passed=$(validate --kubernetes-version "$version" "${files[@]}") || { echo "$passed"; exit 1; }
    [ "$(grep -c ' passed ' <<<"$passed")" = "$resources" ] || { echo "$passed"; exit 1; }
    echo "packaging/kubernetes: $resources resources are valid in Kubernetes $version"
done
