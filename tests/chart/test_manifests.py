"""What must hold of every manifest that the chart or deploy/ renders, whatever the values."""

import json
import pathlib
import re
import subprocess

import kubernetes_validate
import pytest
import render

RENDERED = {name: render.objects(text) for name, text in render.everything()}
CHARTS = [name for name in RENDERED if name.startswith("chart-")]
# Custom resources have no schema in Kubernetes; their own projects' models judge them.
CUSTOM = ("gateway.networking.k8s.io/", "keda.sh/", "monitoring.coreos.com/")
FLEET = "scalesocket.dev/fleet"
OCCUPIED = "scalesocket.dev/occupied"


def of_kind(name, *kinds):
    return [each for each in RENDERED[name] if each["kind"] in kinds]


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


@pytest.mark.parametrize("name", RENDERED)
def test_kubernetes_knows_every_field(name):
    for each in RENDERED[name]:
        if not each["apiVersion"].startswith(CUSTOM):
            kubernetes_validate.validate(each, render.KUBE_VERSION, strict=True)


def faults(manifests):
    lines = "".join(json.dumps(each) + "\n" for each in manifests)
    models = pathlib.Path(__file__).with_name("models.mjs")
    return subprocess.run(
        ["node", models], input=lines, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_custom_resources_fit_their_models():
    custom = [
        each for manifests in RENDERED.values() for each in manifests if each["apiVersion"].startswith(CUSTOM)
    ]
    assert {"HTTPRoute", "ScaledObject", "PodMonitor", "ServiceMonitor", "PrometheusRule"} <= {
        each["kind"] for each in custom
    }
    assert not faults(custom)


def test_the_models_see_wrong_types_and_unknown_keys():
    wrong = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "x"}}
    target = {"scaleTargetRef": {"name": "x"}}
    assert len(faults([{**wrong, "spec": {**target, "triggers": "prometheus"}}])) == 1
    assert faults([{**wrong, "spec": {**target, "triggers": [], "minReplicas": 1}}]) == [
        "0\tunknown key spec.minReplicas"
    ]


@pytest.mark.parametrize("name", RENDERED)
def test_pods_fit_pod_security_restricted(name):
    for kind, pod, spec in render.pod_specs(RENDERED[name]):
        where = f"{kind} {pod}"
        assert not any(spec.get(host) for host in ("hostNetwork", "hostPID", "hostIPC")), where
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, where
        assert context.get("runAsUser") != 0, where
        assert context["seccompProfile"]["type"] == "RuntimeDefault", where
        for container in containers(spec):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, (where, container["name"])
            assert own["capabilities"] == {"drop": ["ALL"]}, (where, container["name"])
            assert not own.get("privileged") and own.get("runAsUser") != 0, (where, container["name"])
        allowed = {"configMap", "downwardAPI", "emptyDir", "image", "persistentVolumeClaim", "projected", "secret"}
        for volume in spec.get("volumes", []):
            assert set(volume) - {"name"} <= allowed, (where, volume["name"])


@pytest.mark.parametrize("name", RENDERED)
def test_pods_do_not_get_variables_from_services(name):
    for _, pod, spec in render.pod_specs(RENDERED[name]):
        assert spec["enableServiceLinks"] is False, pod


@pytest.mark.parametrize("name", RENDERED)
def test_mounts_have_volumes_and_volumes_are_mounted(name):
    for each in RENDERED[name]:
        for _, pod, spec in render.pod_specs([each]):
            claims = each["spec"].get("volumeClaimTemplates", [])
            volumes = {volume["name"] for volume in spec.get("volumes", []) + [c["metadata"] for c in claims]}
            mounts = {m["name"] for c in containers(spec) for m in c.get("volumeMounts", [])}
            assert volumes == mounts, pod


@pytest.mark.parametrize("name", RENDERED)
def test_pods_of_a_fleet_carry_its_label_and_say_who_they_are(name):
    for each in of_kind(name, "Deployment", "StatefulSet"):
        template = each["spec"]["template"]
        for container in containers(template["spec"]):
            words = container.get("args", [])
            if "--kube" not in words:
                continue
            assert f"--kube-fleet={template['metadata']['labels'][FLEET]}" in words
            env = {e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in container["env"] if "valueFrom" in e}
            assert env == {
                "POD_NAME": "metadata.name",
                "POD_NAMESPACE": "metadata.namespace",
                "POD_UID": "metadata.uid",
                "POD_IP": "status.podIP",
            }


@pytest.mark.parametrize("name", RENDERED)
def test_every_selector_finds_pods_of_the_same_render(name):
    pods = [
        each["spec"]["template"]["metadata"]["labels"] for each in of_kind(name, "Deployment", "StatefulSet")
    ]
    for each in RENDERED[name]:
        selector = {
            "Service": lambda spec: spec.get("selector"),
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
            "Deployment": lambda spec: spec["selector"]["matchLabels"],
            "StatefulSet": lambda spec: spec["selector"]["matchLabels"],
        }.get(each["kind"], lambda spec: None)(each["spec"] if "spec" in each else {})
        if selector is None:
            continue
        wanted = {key: value for key, value in selector.items() if key != OCCUPIED}
        assert any(wanted.items() <= labels.items() for labels in pods), (each["kind"], each["metadata"]["name"])


@pytest.mark.parametrize("name", RENDERED)
def test_no_pod_has_two_budgets(name):
    """An eviction of such a pod is an error, not a wait."""

    def selects(budget, labels):
        selector = budget["spec"]["selector"]
        return selector.get("matchLabels", {}).items() <= labels.items() and all(
            expression["operator"] == "NotIn" and labels.get(expression["key"]) not in expression["values"]
            for expression in selector.get("matchExpressions", [])
        )

    budgets = of_kind(name, "PodDisruptionBudget")
    for each in of_kind(name, "Deployment", "StatefulSet"):
        labels = each["spec"]["template"]["metadata"]["labels"]
        for now in (labels, {**labels, OCCUPIED: "true"}):
            assert sum(selects(budget, now) for budget in budgets) <= 1, (each["metadata"]["name"], now)


@pytest.mark.parametrize("name", CHARTS)
def test_names_are_unique_and_in_the_release_namespace(name):
    keys = [(each["kind"], each["metadata"]["name"]) for each in RENDERED[name]]
    assert len(keys) == len(set(keys))
    for each in RENDERED[name]:
        if not each["kind"].startswith("ValidatingAdmissionPolicy") and "helm.sh/chart" in each["metadata"].get("labels", {}):
            assert each["metadata"]["namespace"] == render.NAMESPACE


def test_the_default_install_asks_for_nothing_beyond_its_namespace():
    cluster_wide = {
        "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace", "PriorityClass",
        "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
    }  # fmt: skip
    default = RENDERED["chart-default"]
    assert not cluster_wide & {each["kind"] for each in default}
    assert not [each for each in default if each["apiVersion"].startswith(CUSTOM)]


@pytest.mark.parametrize(
    ("name", "pods", "leases"),
    [
        ("chart-publish", {"get", "patch"}, None),
        (
            "chart-default",
            {"get", "list", "patch", "watch"},
            {"create", "delete", "get", "list", "patch", "update", "watch"},
        ),
        ("chart-plain", None, None),
    ],
)
def test_a_role_allows_what_is_used_and_no_more(name, pods, leases):
    rules = [rule for role in of_kind(name, "Role") for rule in role["rules"]]
    granted = {(group, resource): set(rule["verbs"]) for rule in rules for group in rule["apiGroups"] for resource in rule["resources"]}
    wanted = {("", "pods"): pods, ("coordination.k8s.io", "leases"): leases}
    assert granted == {key: verbs for key, verbs in wanted.items() if verbs}


def test_only_pods_of_a_fleet_get_a_token():
    for name in CHARTS:
        for kind, pod, spec in render.pod_specs(RENDERED[name]):
            uses = any("--kube" in c.get("args", []) for c in containers(spec))
            assert spec["automountServiceAccountToken"] is uses, (name, kind, pod)


def test_a_program_beside_scalesocket_gets_no_token():
    """A mount at its place keeps the API server from putting one there."""
    ((_, _, spec),) = [each for each in render.pod_specs(RENDERED["chart-connect"]) if each[0] == "Deployment"]
    (program,) = spec["initContainers"]
    (empty,) = [m["name"] for m in program["volumeMounts"] if m["mountPath"].endswith("/kubernetes.io/serviceaccount")]
    assert {"name": empty, "emptyDir": {}} in spec["volumes"]
    assert spec["automountServiceAccountToken"] is True


@pytest.mark.parametrize("name", RENDERED)
def test_an_autoscaled_workload_has_no_replicas_of_its_own(name):
    for scaler in of_kind(name, "HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]
        workloads = [w for w in of_kind(name, target["kind"]) if w["metadata"]["name"] == target["name"]]
        assert len(workloads) == 1
        assert "replicas" not in workloads[0]["spec"]


@pytest.mark.parametrize("name", CHARTS)
def test_packing_and_scaling_agree(name):
    """Were the target of placement above the autoscaler's, pods would never be full enough to be worth one more."""
    targets = set()
    for each in of_kind(name, "HorizontalPodAutoscaler"):
        (metric,) = each["spec"]["metrics"]
        targets.add(metric[metric["type"].lower()]["target"]["averageValue"])
    for each in of_kind(name, "ScaledObject"):
        (trigger,) = each["spec"]["triggers"]
        targets.add(trigger["metadata"].get("threshold") or trigger["metadata"]["targetValue"])
    if targets:
        words = [word for _, _, spec in render.pod_specs(RENDERED[name]) for c in containers(spec) for word in c.get("args", [])]
        packed = {word.partition("=")[2] for word in words if word.startswith("--kube-target-rooms=")}
        assert packed == targets


def test_a_made_secret_is_long_and_random():
    def secret():
        text = render.run("helm", "template", "x", render.CHART)
        return re.search(r"(?m)^  secrets: (\S+)$", text).group(1)

    assert len(secret()) == 64
    assert secret() != secret()
