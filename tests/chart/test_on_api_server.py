"""What a real API server says: of every manifest, of pods under Pod Security "restricted", of what pods may do."""

import json

import pytest
import render

CUSTOM = ("gateway.networking.k8s.io/", "keda.sh/", "monitoring.coreos.com/")
RENDERED = {name: render.objects(text) for name, text in render.everything()}


def pod_of(workload, name="pod"):
    """What the workload's controller would ask for."""
    template = workload["spec"]["template"]
    spec = dict(template["spec"])
    # Classes are objects of the cluster, which this one does not have.
    spec.pop("priorityClassName", None)
    spec.pop("runtimeClassName", None)
    claims = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])]
    spec["volumes"] = spec.get("volumes", []) + [
        {"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims
    ]
    metadata = {"name": name, "namespace": workload["metadata"]["namespace"], "labels": template["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def create(cluster, manifest, *flags):
    return cluster.run("kubectl", "create", *flags, "-f", "-", input=json.dumps(manifest))


@pytest.mark.parametrize("name", RENDERED)
def test_it_takes_every_manifest(name, cluster):
    known = [each for each in RENDERED[name] if not each["apiVersion"].startswith(CUSTOM)]
    text = "".join(json.dumps(each) + "\n---\n" for each in known)
    cluster.run("kubectl", "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", input=text)


@pytest.mark.parametrize("name", RENDERED)
def test_pods_are_admitted_under_restricted(name, cluster):
    for each in RENDERED[name]:
        if each["kind"] == "Pod":
            create(cluster, each, "--dry-run=server")
        elif each["kind"] in ("Deployment", "StatefulSet"):
            create(cluster, pod_of(each), "--dry-run=server")


def test_restricted_is_enforced_here(cluster):
    (workload,) = [each for each in RENDERED["chart-default"] if each["kind"] == "Deployment"]
    pod = pod_of(workload)
    pod["spec"]["securityContext"] = {}
    with pytest.raises(render.Refused, match="violates PodSecurity"):
        create(cluster, pod, "--dry-run=server")


@pytest.fixture(scope="module")
def installed(cluster):
    """The default release with the policy, two of its pods, and the token that the first one has."""
    install = ("helm", "upgrade", "--install", "demo", render.CHART, "--namespace", render.NAMESPACE)
    cluster.run(*install)
    before = secret(cluster)
    cluster.run(*install, "--set", "admissionPolicy.enabled=true")
    assert secret(cluster) == before, "an upgrade made a new secret"
    (workload,) = [each for each in RENDERED["chart-default"] if each["kind"] == "Deployment"]
    for name in ("mine", "other"):
        create(cluster, pod_of(workload, name))
    uid = cluster.run("kubectl", "-n", render.NAMESPACE, "get", "pod", "mine", "-o", "jsonpath={.metadata.uid}")
    token = cluster.run(
        "kubectl", "-n", render.NAMESPACE, "create", "token", "demo-scalesocket",
        "--bound-object-kind", "Pod", "--bound-object-name", "mine", "--bound-object-uid", uid,
    ).strip()  # fmt: skip

    def patch(pod, what):
        return cluster.run(
            "kubectl", "-n", render.NAMESPACE, "patch", "pod", pod, "--type=merge", "-p", json.dumps(what),
            as_token=token,
        )  # fmt: skip

    # The server learns of a policy a little later; until it does, this is allowed.
    for _ in range(600):
        try:
            patch("other", {"metadata": {"annotations": {"scalesocket.dev/state": None}}})
        except render.Refused:
            break
    return patch


def secret(cluster):
    return cluster.run(
        "kubectl", "-n", render.NAMESPACE, "get", "secret", "demo-scalesocket-peer", "-o", "jsonpath={.data.secrets}"
    )


PUBLISHED = {
    "annotations": {
        "scalesocket.dev/rooms": "{}",
        "controller.kubernetes.io/pod-deletion-cost": "1",
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    },
    "labels": {"scalesocket.dev/occupied": "true"},
}
WITHDRAWN = {kind: dict.fromkeys(keys) for kind, keys in PUBLISHED.items()}


def test_a_pod_may_publish_and_withdraw(installed):
    assert "patched" in installed("mine", {"metadata": PUBLISHED})
    assert "patched" in installed("mine", {"metadata": WITHDRAWN})


@pytest.mark.parametrize(
    ("pod", "what", "words"),
    [
        ("other", {"metadata": PUBLISHED}, "no pod but its own"),
        ("mine", {"metadata": {"annotations": {"example.com/x": "1"}}}, "no annotation but"),
        ("mine", {"metadata": {"labels": {"app.kubernetes.io/name": "x"}}}, "no label but"),
        ("mine", {"metadata": {"labels": {"scalesocket.dev/fleet": None}}}, "no label but"),
        ("mine", {"spec": {"activeDeadlineSeconds": 1}}, "nothing but its metadata"),
        ("mine", {"metadata": {"finalizers": ["example.com/x"]}}, "neither owners nor finalizers"),
    ],
)
def test_the_policy_refuses_what_the_role_would_allow(pod, what, words, installed):
    with pytest.raises(render.Refused, match=words):
        installed(pod, what)
