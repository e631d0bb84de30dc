"""The files for containers fit together: names, ports, paths, users; and the settings in them can be used."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from jgi_stager.cli.commands import WhenCalled
from jgi_stager.settings import Settings, load_settings
from jgi_stager.web import probe

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "config" / "kubernetes"
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
OBJECTS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(BASE.glob("*.yaml"))}
POD = OBJECTS["statefulset"]["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]
WORKERS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((BASE / "workers").glob("*.yaml"))}
WORKER_POD = WORKERS["job"]["spec"]["template"]["spec"]
WORKER = WORKER_POD["containers"][0]
STAGING = tomllib.loads((BASE / "jgi-stager.toml").read_text(encoding="utf-8"))["staging"]["stage_dir"]


def members() -> list[str]:
    """The services of compose that are MongoDB."""
    return [name for name in COMPOSE["services"] if re.fullmatch(r"mongo\d", name)]


def environment() -> dict[str, str]:
    """What the image sets."""
    block = re.search(r"^ENV (.+?)(?<!\\)$", CONTAINERFILE, re.MULTILINE | re.DOTALL)
    assert block is not None
    return dict(part.split("=", 1) for part in block[1].replace("\\\n", " ").split())


def test_the_base_names_every_object_that_is_there() -> None:
    base = OBJECTS["kustomization"]
    assert set(base["resources"]) == {f"{name}.yaml" for name in OBJECTS if name != "kustomization"}
    assert base["images"][0]["name"] == CONTAINER["image"]
    (generated,) = base["configMapGenerator"]
    assert all((BASE / name).is_file() for name in generated["files"])
    volumes = {one["name"]: one for one in POD["volumes"]}
    assert volumes["settings"]["configMap"]["name"] == generated["name"]
    assert {one["name"] for one in CONTAINER["volumeMounts"]} == set(volumes)


def test_labels_and_selectors_are_the_same() -> None:
    wanted = OBJECTS["statefulset"]["spec"]["template"]["metadata"]["labels"]
    assert OBJECTS["statefulset"]["spec"]["selector"]["matchLabels"] == wanted
    assert OBJECTS["service"]["spec"]["selector"] == wanted
    assert OBJECTS["networkpolicy"]["spec"]["podSelector"]["matchLabels"] == wanted
    assert OBJECTS["statefulset"]["spec"]["serviceName"] == OBJECTS["service"]["metadata"]["name"]
    assert OBJECTS["statefulset"]["spec"]["replicas"] == 2


def test_workers_see_the_files_read_only_and_of_the_secrets_only_that_of_the_database() -> None:
    component = WORKERS["kustomization"]
    assert component["kind"] == "Component"
    assert set(component["resources"]) == {f"{name}.yaml" for name in WORKERS if name != "kustomization"}
    assert WORKER_POD["securityContext"] == POD["securityContext"]
    assert WORKER["securityContext"] == CONTAINER["securityContext"]
    assert all(one["readOnly"] for one in WORKER["volumeMounts"] if one["name"] != "tmp")
    theirs = {one["name"]: one["mountPath"] for one in WORKER["volumeMounts"]}
    ours = {one["name"]: one["mountPath"] for one in CONTAINER["volumeMounts"] if one["name"] != "state"}
    assert theirs == ours
    volumes = {one["name"]: one for one in WORKER_POD["volumes"]}
    assert [one["key"] for one in volumes["secrets"]["secret"]["items"]] == ["mongodb_password"]
    assert volumes["staging"] == next(one for one in POD["volumes"] if one["name"] == "staging")


def test_nothing_that_selects_the_daemon_finds_a_worker() -> None:
    labels = WORKERS["job"]["spec"]["template"]["metadata"]["labels"]
    assert labels != OBJECTS["service"]["spec"]["selector"]
    assert WORKERS["networkpolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    ports = {one["port"] for rule in WORKERS["networkpolicy"]["spec"]["egress"] for one in rule["ports"]}
    assert ports == {53, 27017}
    assert "ingress" not in WORKERS["networkpolicy"]["spec"]


def test_the_command_of_the_workers_is_one_that_there_is() -> None:
    command, *options = WORKER["args"]
    parameters = {flag for one in WhenCalled()[command].params for flag in one.opts}
    assert {one for one in options if one.startswith("--")} <= parameters


def test_ports_are_that_of_the_settings() -> None:
    port = Settings().web.port
    assert CONTAINER["ports"] == [{"name": "web", "containerPort": port}]
    (served,) = OBJECTS["service"]["spec"]["ports"]
    assert (served["port"], served["targetPort"]) == (port, "web")
    assert f"EXPOSE {port}" in CONTAINERFILE
    assert port == probe.PORT
    assert OBJECTS["networkpolicy"]["spec"]["ingress"][0]["ports"][0]["port"] == "web"
    assert all(f":{port}" in one for name in ("stager1", "stager2") for one in COMPOSE["services"][name]["ports"])


def probes() -> list[tuple[str, list[str]]]:
    """Each probe of the files, and what it runs."""
    found = [(name, CONTAINER[name]["exec"]["command"]) for name in CONTAINER if name.endswith("Probe")]
    written = re.search(r"HEALTHCHECK .*?CMD (\[.*?\])", CONTAINERFILE, re.DOTALL)
    assert written is not None
    found.append(("Containerfile", yaml.safe_load(written[1])))
    return [*found, ("compose", COMPOSE["services"]["stager1"]["healthcheck"]["test"][1:])]


@pytest.mark.parametrize(("name", "command"), probes(), ids=[name for name, _ in probes()])
def test_a_probe_asks_for_a_page_that_the_daemon_serves(name: str, command: list[str]) -> None:
    assert command[:3] == ["python", "-m", probe.__name__]
    served = (ROOT / "src/jgi_stager/web/server.py").read_text(encoding="utf-8")
    assert command[3] in probe.PAGES
    assert f'Route("{command[3]}"' in served
    assert (command[3] == "/healthz/live") is (name in ("livenessProbe", "startupProbe"))


def test_nothing_runs_as_root_or_writes_to_its_root() -> None:
    pod, own = POD["securityContext"], CONTAINER["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert min(pod["runAsUser"], pod["runAsGroup"], pod["fsGroup"]) > 0
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert CONTAINER["resources"].keys() == {"requests", "limits"}
    assert re.search(r"^USER (\d+):\1$", CONTAINERFILE, re.MULTILINE)
    for name in ("stager1", "stager2"):
        service = COMPOSE["services"][name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_what_the_image_looks_for_is_what_is_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = environment()
    mounted = {one["mountPath"] for one in CONTAINER["volumeMounts"]}
    state, secrets = wanted["JGI_STAGER_STATE__DIRECTORY"], wanted["JGI_STAGER_SECRETS__DIRECTORY"]
    # Made by the daemon, below a mount that need not belong to its user.
    volume = str(Path(state).parent)
    assert f"VOLUME {volume}\n" in CONTAINERFILE
    assert {str(Path(wanted["JGI_STAGER_CONFIG"]).parent), volume, secrets, "/tmp", STAGING} == mounted
    staging = next(one for one in POD["volumes"] if one["name"] == "staging")
    assert staging["hostPath"]["path"] == STAGING
    for name in ("stager1", "stager2"):
        targets = {one.split(":")[1] for one in COMPOSE["services"][name]["volumes"] if "STAGING" not in one}
        assert targets == {wanted["JGI_STAGER_CONFIG"], volume, secrets}
    for key, value in wanted.items():
        if key.startswith("JGI_STAGER_"):
            monkeypatch.setenv(key, value)
    monkeypatch.setenv("JGI_STAGER_MONGODB__URI", COMPOSE["x-stager"]["environment"]["JGI_STAGER_MONGODB__URI"])
    settings = load_settings(BASE / "jgi-stager.toml")
    assert (settings.web.host, str(settings.state.directory)) == ("0.0.0.0", state)
    assert settings.mongodb.uri is not None
    assert all(f"{name}:27017" in settings.mongodb.uri for name in members())


def test_three_members_keep_the_books_and_are_made_one_set() -> None:
    assert len(members()) == 3
    init = COMPOSE["services"]["mongo-init"]
    assert set(init["depends_on"]) == set(members())
    assert all(f'"{name}"' in init["command"][-1] for name in members())
    assert "--replSet" in COMPOSE["services"]["mongo1"]["command"]


def test_the_image_is_made_of_files_that_are_let_in() -> None:
    let_in = [line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")]
    lists = re.findall(r"^ARG LIST=(\S+)", CONTAINERFILE, re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.MULTILINE)[0].split()
    assert {lists[0] if one == "${LIST}" else one for one in copied} <= set(let_in)
    without = re.search(r'ARG WITHOUT="(.*)"', CONTAINERFILE)
    assert without is not None
    service = (ROOT / lists[0]).read_text(encoding="utf-8")
    assert all(re.search(rf"^{name}==", service, re.MULTILINE) for name in without[1].split())


def every(value: Any) -> list[str]:
    """Every text in a document."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in every(item)]
    if isinstance(value, list):
        return [text for item in value for text in every(item)]
    return [value] if isinstance(value, str) else []


def test_no_secret_is_among_them() -> None:
    assert not [
        text for text in every([*OBJECTS.values(), COMPOSE]) if re.search(r"mongodb://[^@/]*:[^@/]*@", text)
    ]
    assert next(one for one in POD["volumes"] if one["name"] == "secrets")["secret"]["defaultMode"] == 0o400


def test_a_daemon_waits_for_mongodb_by_itself() -> None:
    # podman 4 cannot start what depends on a container that ended, as mongo-init does.
    assert not any("depends_on" in COMPOSE["services"][name] for name in ("stager1", "stager2"))
    assert all(COMPOSE["services"][name]["restart"] == "unless-stopped" for name in ("stager1", "stager2"))
