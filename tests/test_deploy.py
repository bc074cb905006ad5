"""The Helm chart: rendered by Helm's own engine, checked against Kubernetes' schemas and against what this project's parts ask for."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from murakkab.actors.tenants import Tenant, tenants_in
from murakkab.bus.roles import ROLES, address
from murakkab.bus.server import find_binary
from murakkab.client.cli import ACTORS, parser

helm = pytest.importorskip("helm_python", reason="the chart is rendered by helm-python-sdk: pip install 'murakkab[charts]'")
validate = pytest.importorskip("kubernetes_validate", reason="schemas are those of kubernetes-validate: pip install 'murakkab[charts]'")
yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "deploy" / "helm" / "murakkab"
LIMITS = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
GPUS = [
    {"name": "h100", "gpus": 2, "market": "spot", "usdPerHour": 3.5, "nodeSelector": {"pool": "gpu"}, "resources": LIMITS},
    {"name": "cpu", "tolerations": [{"key": "batch", "operator": "Exists"}], "resources": LIMITS},
]
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "one server": {"nats": {"replicas": 1}, "control": {"conductor": {"replicas": 1}}},
    "their own NATS": {"nats": {"enabled": False}, "external": {"url": "tls://nats.example:4222,tls://nats2.example:4222"}},
    "TLS and GPUs": {"nats": {"tlsSecret": "nats-tls"}, "workers": GPUS, "imagePullSecrets": [{"name": "registry"}]},
    "secrets made elsewhere": {"auth": {"create": False}, "tenants": ["default", "acme"]},
    "open network": {"networkPolicy": {"enabled": False}},
    "quotas": {"tenants": ["default", "acme"], "quotas": {"acme": {"weight": 0.5, "running_jobs": 3, "usd_per_hour": 2.5}}},
}
Object = dict[str, Any]


def render(values: Object) -> list[Object]:
    with helm.Chart.load(str(CHART)) as chart:
        files = chart.render(values, name="demo", namespace="ai")
    return [o for path, text in files.items() if path.endswith(".yaml") for o in yaml.safe_load_all(text) if o]


@pytest.fixture(params=VALUES, ids=[v.replace(" ", "-") for v in VALUES])
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return render(VALUES[request.param])


def kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [o for o in objects if o["kind"] in kinds]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """(component, pod template) of whatever makes pods."""
    for o in kind(objects, "Deployment", "DaemonSet", "StatefulSet"):
        template = o["spec"]["template"]
        assert matches(o["spec"]["selector"], template["metadata"]["labels"])
        yield template["metadata"]["labels"]["app.kubernetes.io/component"], template


def matches(selector: Object, labels: Object) -> bool:
    """As Kubernetes selects by labels, as far as this chart does."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    for e in selector.get("matchExpressions", []):
        assert e["operator"] == "In"
        if labels.get(e["key"]) not in e["values"]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def container(template: Object) -> Object:
    (it,) = template["spec"]["containers"]
    return dict(it)


def env(template: Object) -> dict[str, Object]:
    return {e["name"]: e for e in container(template)["env"]}


@pytest.mark.parametrize("values", VALUES.values(), ids=[v.replace(" ", "-") for v in VALUES])
def test_helm_finds_nothing_wrong(values: Object) -> None:
    said = helm.lint(str(CHART), values, strict=True)
    assert said["errors"] == []
    assert [m for m in said["messages"] if m["error"] != "icon is recommended"] == []


def test_every_object_is_valid(objects: list[Object]) -> None:
    names = [(o["kind"], o["metadata"]["name"]) for o in objects]
    assert len(names) == len(set(names))
    for o in objects:
        assert o["metadata"]["namespace"] == "ai"
        for version in ("1.27", validate.latest_version()):
            validate.validate(o, version, strict=True)


def test_the_validator_refuses_what_is_wrong() -> None:
    o = kind(render({}), "DaemonSet")[0]
    container(o["spec"]["template"])["livenessProbe"]["everySecond"] = 1
    with pytest.raises(validate.ValidationError):
        validate.validate(o, "1.27", strict=True)


def test_every_actor_is_there_and_its_command_line_is_ours(objects: list[Object]) -> None:
    said = [(role, parser().parse_args(container(t)["args"])) for role, t in pods(objects) if role != "nats"]
    assert {role for role, _ in said} == set(ACTORS)
    assert all(args.command == role for role, args in said)
    assert all(args.host == "$(NODE_NAME)" for role, args in said if role == "worker")
    workers = [t for role, t in pods(objects) if role == "worker"]
    assert all(env(t)["NODE_NAME"]["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}} for t in workers)


def test_the_second_conductor_stands_by_and_is_not_drained_with_the_first() -> None:
    objects = render({})
    (conductor,) = (o for o in kind(objects, "Deployment") if o["metadata"]["name"] == "demo-murakkab-conductor")
    assert conductor["spec"]["replicas"] == 2
    budgets = {b["metadata"]["name"]: b["spec"] for b in kind(objects, "PodDisruptionBudget")}
    for role, name in (("conductor", "demo-murakkab-conductor"), ("nats", "demo-murakkab-nats")):
        assert budgets[name]["maxUnavailable"] == 1
        covered = [r for r, t in pods(objects) if matches(budgets[name]["selector"], t["metadata"]["labels"])]
        assert covered == [role]


def test_every_pod_is_probed_limited_and_confined(objects: list[Object]) -> None:
    for role, template in pods(objects):
        spec, it = template["spec"], container(template)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if role == "nats":
                assert it[probe]["httpGet"]["port"] in {p["name"] for p in it["ports"]}
            else:
                program, *args = it[probe]["exec"]["command"]
                assert program == "murakkab"
                assert parser().parse_args(args).command == "healthy"
        for part in ("requests", "limits"):
            assert it["resources"][part].keys() >= {"cpu", "memory"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert it["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        claims = {"data"} if role == "nats" else set()
        volumes = {v["name"]: v for v in spec["volumes"]}
        assert {m["name"] for m in it["volumeMounts"]} == volumes.keys() | claims
        assert not any("hostPath" in v for v in volumes.values())
        assert len({m["mountPath"] for m in it["volumeMounts"]}) == len(it["volumeMounts"])
        accounts = {a["metadata"]["name"]: a for a in kind(objects, "ServiceAccount")}
        assert accounts[spec["serviceAccountName"]]["automountServiceAccountToken"] is False


def test_what_an_actor_writes_has_a_place_on_a_read_only_root(objects: list[Object]) -> None:
    for role, template in pods(objects):
        if role != "nats":
            writable = {m["mountPath"] for m in container(template)["volumeMounts"] if not m.get("readOnly")}
            assert {"/data", "/tmp", "/run/murakkab"} <= writable
            assert Path(env(template)["MURAKKAB_ALIVE"]["value"]).parent == Path("/run/murakkab")
            assert parser().parse_args(container(template)["args"]).data == Path(env(template)["MURAKKAB_HOME"]["value"]) == Path("/data")


def test_an_actor_holds_its_own_password_alone(objects: list[Object]) -> None:
    for role, template in pods(objects):
        text = json.dumps(template)
        held = set(
            re.findall(
                r'"(?:secretName|name)": "demo-murakkab-(' + "|".join((*ROLES, "routes")) + r')"', text.replace('"serviceAccountName"', "")
            )
        )
        assert held == ({*ROLES, "routes"} if role == "nats" else {role})


def test_passwords_are_in_secrets_alone_and_are_those_that_the_bus_reads(tmp_path: Path) -> None:
    objects = render({})
    secrets = {o["metadata"]["name"].removeprefix("demo-murakkab-"): o for o in kind(objects, "Secret")}
    assert secrets.keys() == {*ROLES, "routes"}
    passwords = {role: base64.b64decode(o["data"]["password"]).decode() for role, o in secrets.items()}
    assert len(set(passwords.values())) == len(passwords)
    assert all(re.fullmatch(r"p[A-Za-z0-9]{32}", p) for p in passwords.values())
    rest = json.dumps([o for o in objects if o["kind"] != "Secret"])
    assert not any(p in rest for p in passwords.values())
    for role in ROLES:
        (tmp_path / role).write_bytes(base64.b64decode(secrets[role]["data"]["credentials.json"]))
        with_password = address("nats://demo-murakkab-nats:4222", role, {"MURAKKAB_CREDENTIALS": str(tmp_path / role)})
        assert with_password == f"nats://{role}:{passwords[role]}@demo-murakkab-nats:4222"


def test_no_secret_is_made_where_they_are_there_already() -> None:
    assert not kind(render(VALUES["secrets made elsewhere"]), "Secret")


def test_the_servers_run_the_projects_own_configuration(tmp_path: Path) -> None:
    (conf,) = kind(render({}), "ConfigMap")
    assert conf["data"] == {f.name: f.read_text() for f in (ROOT / "nats.conf", ROOT / "deploy" / "nats-cluster.conf")}
    packed = helm.package(str(CHART), destination=str(tmp_path))
    with tarfile.open(packed) as archive:  # a chart that is published holds the file, not a link out of itself
        member = archive.extractfile("murakkab/files/nats.conf")
        assert member is not None
        assert member.read() == (ROOT / "nats.conf").read_bytes()


def test_every_variable_that_is_set_is_read_and_every_one_that_is_read_is_set(objects: list[Object]) -> None:
    source = "".join(f.read_text() for d in ("bus", "actors", "agents", "client", "planner") for f in (ROOT / d).glob("*.py"))
    for role, template in pods(objects):
        if role == "nats":
            asked = set(re.findall(r"\$(MK_\w+)", (ROOT / "nats.conf").read_text() + (ROOT / "deploy" / "nats-cluster.conf").read_text()))
            assert asked == env(template).keys()
        else:
            ours = {name for name in env(template) if name.startswith("MURAKKAB_")}
            assert all(f'"{name}"' in source for name in ours), ours
            assert "NATS_URL" in env(template)


@pytest.mark.live
@pytest.mark.parametrize("values", ["defaults", "one server"])
def test_a_real_server_accepts_what_the_chart_would_start(tmp_path: Path, values: str) -> None:
    objects = render(VALUES[values])
    (conf,) = kind(objects, "ConfigMap")
    for name, text in conf["data"].items():
        (tmp_path / name).write_text(text)
    (template,) = (t for role, t in pods(objects) if role == "nats")
    said = {
        **os.environ,
        **{f"MK_PASSWORD_{r.upper()}": f"p{n}" for n, r in enumerate((*ROLES, "routes"))},
        "MK_SERVER": "demo-murakkab-nats-0",
    }
    said |= {n: re.sub(r"\$\((\w+)\)", lambda m: said[m[1]], e["value"]) for n, e in env(template).items() if "value" in e}
    args = [a.replace("/etc/nats", str(tmp_path)).replace("/data", str(tmp_path / "data")) for a in container(template)["args"]]
    checked = subprocess.run([find_binary(os.environ), *args, "-t"], env=said, capture_output=True, text=True, timeout=30, check=False)
    assert checked.returncode == 0, checked.stderr
    replicas = {"defaults": 3, "one server": 1}[values]
    assert said["MK_ROUTES"].count("nats://routes:p7@demo-murakkab-nats-") == replicas


def test_quotas_reach_the_conductors_as_they_are_written() -> None:
    objects = render(VALUES["quotas"])
    (made,) = (o for o in kind(objects, "ConfigMap") if o["metadata"]["name"].endswith("-tenants"))
    text = made["data"]["tenants.json"]
    assert tenants_in(text, "tenants.json") == (Tenant("acme", weight=0.5, running_jobs=3, usd_per_hour=2.5),)
    for role, template in pods(objects):
        assert ("MURAKKAB_TENANTS_FILE" in env(template)) == (role == "conductor")
        if role == "conductor":
            mounted = {m["name"]: m["mountPath"] for m in container(template)["volumeMounts"]}
            assert env(template)["MURAKKAB_TENANTS_FILE"]["value"] == f"{mounted['tenants']}/tenants.json"
            volume = next(v for v in template["spec"]["volumes"] if v["name"] == "tenants")
            assert volume["configMap"]["name"] == made["metadata"]["name"]
            before = template["metadata"]["annotations"]
    values = {**VALUES["quotas"], "quotas": {"acme": {"weight": 2}}}
    (after,) = (t["metadata"]["annotations"] for role, t in pods(render(values)) if role == "conductor")
    assert before != after, "other quotas start other conductors"


@pytest.mark.parametrize(("values", "copies"), [("defaults", "3"), ("one server", "1"), ("their own NATS", "3")])
def test_streams_have_as_many_copies_as_there_are_servers(values: str, copies: str) -> None:
    (conductor,) = (t for role, t in pods(render(VALUES[values])) if role == "conductor")
    assert env(conductor)["MURAKKAB_REPLICAS"]["value"] == copies


def test_only_our_pods_reach_nats() -> None:
    objects = render({})
    templates = {role: t["metadata"]["labels"] for role, t in pods(objects)}
    (ours,) = (p for p in kind(objects, "NetworkPolicy") if matches(p["spec"]["podSelector"], templates["nats"]))

    def may(labels: Object, port: str) -> bool:
        return any(
            any(matches(peer["podSelector"], labels) for peer in rule["from"]) and any(p["port"] == port for p in rule["ports"])
            for rule in ours["spec"]["ingress"]
        )

    assert set(ours["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert {role for role, labels in templates.items() if may(labels, "nats")} == set(ACTORS)
    assert {role for role, labels in templates.items() if may(labels, "routes")} == {"nats"}
    assert may({"murakkab/client": "true"}, "nats")
    assert not may({"app": "somebody-else"}, "nats")
    assert not may({**templates["worker"], "app.kubernetes.io/instance": "another-release"}, "nats")
    for role, labels in templates.items():
        mine = [p for p in kind(objects, "NetworkPolicy") if matches(p["spec"]["podSelector"], labels)]
        assert len(mine) == 1, role
        if role != "nats":
            assert mine[0]["spec"]["ingress"] == []
            assert mine[0]["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_services_lead_to_the_servers() -> None:
    objects = render({})
    template = next(t for role, t in pods(objects) if role == "nats")
    ports = {p["name"]: p["containerPort"] for p in container(template)["ports"]}
    for service in kind(objects, "Service"):
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        assert all(ports[p["targetPort"]] == p["port"] for p in service["spec"]["ports"])
    urls = {env(t)["NATS_URL"]["value"] for role, t in pods(objects) if role != "nats"}
    assert urls == {"nats://demo-murakkab-nats:4222"}


def test_gpus_are_limited_and_nodes_chosen() -> None:
    groups = {o["metadata"]["name"]: o["spec"]["template"]["spec"] for o in kind(render(VALUES["TLS and GPUs"]), "DaemonSet")}
    gpu, cpu = groups["demo-murakkab-worker-h100"], groups["demo-murakkab-worker-cpu"]
    assert gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert gpu["nodeSelector"] == {"pool": "gpu"}
    assert {"name": "MURAKKAB_MARKET", "value": "spot"} in gpu["containers"][0]["env"]
    assert {"name": "MURAKKAB_USD_PER_HOUR", "value": "3.5"} in gpu["containers"][0]["env"]
    assert "nvidia.com/gpu" not in cpu["containers"][0]["resources"]["limits"]
    assert cpu["tolerations"] == [{"key": "batch", "operator": "Exists"}]


def test_with_tls_everybody_asks_for_it() -> None:
    objects = render(VALUES["TLS and GPUs"])
    for role, template in pods(objects):
        if role == "nats":
            assert {"--tls", "--tlscert", "--tlskey"} <= set(container(template)["args"])
        else:
            assert env(template)["NATS_URL"]["value"] == "tls://demo-murakkab-nats:4222"
            authority = next(v for v in template["spec"]["volumes"] if v["name"] == "authority")
            assert authority["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}], "no actor has the server's key"


def test_with_another_nats_none_is_made() -> None:
    objects = render(VALUES["their own NATS"])
    assert not kind(objects, "StatefulSet", "Service", "ConfigMap")
    urls = {env(t)["NATS_URL"]["value"] for _, t in pods(objects)}
    assert urls == {"tls://nats.example:4222,tls://nats2.example:4222"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"control": {"clustermgr": {"replicas": 2}}}, "control.clustermgr.replicas|/control/clustermgr/replicas"),
        ({"nats": {"replicas": 2}}, "nats.replicas|/nats/replicas"),
        ({"nats": {"enabled": False}}, "external.url names the NATS servers"),
        ({"external": {"url": "nats://worker:secret@a:4222"}}, "external.url|/external/url"),
        ({"nats": {"password": "secret"}}, "password"),
        ({"workers": [{"name": "cpu"}]}, "resources"),
        ({"quotas": {"acme": {"running_jobs": 0}}}, "running_jobs"),
        ({"quotas": {"acme": {"jobs": 3}}}, "jobs"),
        ({"workers": [{"name": "cpu", "market": "stolen", "resources": LIMITS}]}, "market"),
    ],
)
def test_values_that_cannot_be_are_refused(values: Object, says: str) -> None:
    with helm.Chart.load(str(CHART)) as chart, pytest.raises(helm.HelmError, match=says):
        chart.render(values, name="demo", namespace="ai")


def test_the_image_is_what_the_chart_expects() -> None:
    """It was never built: no builder of images can be had where this was written. So much can be read from it."""
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    assert 'ENTRYPOINT ["murakkab"]' in lines
    users = {t["spec"]["securityContext"]["runAsUser"] for role, t in pods(render({})) if role != "nats"}
    assert users == {10001}
    assert "USER 10001" in lines
    extras = next(line for line in lines if line.startswith("ARG EXTRAS=")).partition("=")[2].split(",")
    project = (ROOT / "pyproject.toml").read_text()
    assert all(re.search(rf"^{extra} = \[", project, re.M) for extra in extras)
