"""The files of ``deploy/``, Dockerfile and docker-compose.yml: what a mistake in them would open or break.

Their servers are tested in ``tests/integration/test_deploy_servers.py``; no container engine is needed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from engine.app.live.health import OPEN_PATHS
from engine.app.live.metrics import Metrics
from engine.sinks.messages import KINDS
from tests.support.source import ROOT
from tests.support.stills import still

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/astra.json").read_text())
RULES = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))


# ---------------------------------------------------------------------------------------------- compose


@each_service
def test_services_are_guarded(service: dict[str, Any]) -> None:
    """A hole in one server must not become a hole in the machine, nor a leak take all of its memory."""
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "cpus", "pids_limit", "healthcheck", "logging"} <= service.keys()
    assert service.keys().isdisjoint({"privileged", "cap_add", "network_mode", "pid", "devices", "ipc"})


@each_service
def test_services_have_no_root(service: dict[str, Any]) -> None:
    """Root in a container is root on the machine for whoever gets out."""
    user = service.get("user") or re.search(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[1]  # type: ignore[index]
    assert re.fullmatch(r"[1-9]\d*:\d+", user)


@each_service
def test_ports_are_published_on_loopback_alone(service: dict[str, Any]) -> None:
    """A published port passes by the machine's firewall."""
    for port in service["ports"]:
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


@each_service
def test_images_are_named_by_version(service: dict[str, Any]) -> None:
    """``latest`` is another server after each restart."""
    name, _, tag = service["image"].partition(":")
    assert tag
    assert tag != "latest"
    assert "." not in name.partition("/")[0], "no address of a registry"


def test_secrets_come_from_files() -> None:
    """A secret in this file, or in the environment, is in every backup and every ``inspect``."""
    declared = COMPOSE["secrets"]
    used = [
        secret if isinstance(secret, str) else secret["source"]
        for service in SERVICES.values()
        for secret in service.get("secrets", [])
    ]
    assert set(used) == declared.keys()
    made = (DEPLOY / "secrets.sh").read_text()
    for name, secret in declared.items():
        assert secret == {"file": f"deploy/secrets/{name}"}
        assert re.search(rf"\b{name}\b", made), f"secrets.sh does not make {name}"
    assert "/secrets/" in (DEPLOY / ".gitignore").read_text()
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            assert key.endswith("__FILE") or not re.search(r"PASSWORD|KEY|TOKEN|SECRET", key), value


def test_each_server_gets_its_own_secrets_alone() -> None:
    """The broker has no use for the key that resumes trading."""
    of = {
        name: {s if isinstance(s, str) else s["source"] for s in service.get("secrets", [])}
        for name, service in SERVICES.items()
    }
    assert {name for name, secrets in of.items() if "operator_key" in secrets} == {"engine"}
    assert all(secret.startswith("redis_") for secret in of["redis"])
    assert all(secret.startswith("mqtt_") for secret in of["mosquitto"])


def test_volumes_and_mounts_exist() -> None:
    """A mount of a file that is not there becomes an empty folder, and the server starts without it."""
    for service in SERVICES.values():
        for mount in service["volumes"]:
            source, _, rest = mount.partition(":")
            if source.startswith("./"):
                assert (ROOT / source).exists()
                assert rest.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"]


def test_the_default_start_is_small() -> None:
    """Monitoring is asked for; the engine and its two servers are not."""
    plain = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert plain == {"engine", "redis", "mosquitto"}


def test_the_configuration_of_the_engine_is_valid(tmp_path: Path) -> None:
    """The first ``docker compose up`` must not end at a mistyped key."""
    checked = subprocess.run(
        [sys.executable, "-m", "engine.app.main", "config", "show", str(DEPLOY / "engine/astra.toml")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    config = tomllib.loads((DEPLOY / "engine/astra.toml").read_text())
    assert config["redis"]["url"] == "redis://engine@redis:6379/0"
    assert config["mqtt"]["host"] in SERVICES
    assert config["operator"]["instance"] == "astra"
    assert f"127.0.0.1:{config['console']['port']}:{config['console']['port']}" in SERVICES["engine"]["ports"]


# ------------------------------------------------------------------------------------------- Dockerfile


def test_the_image_is_built_from_the_lock() -> None:
    """What runs must be what was tested; a build that resolves versions anew runs something else."""
    installs = re.findall(r"pip install (.+)", DOCKERFILE)
    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
    wanted = set(re.search(r"\^\(([a-z|-]+)\)==", DOCKERFILE)[1].split("|"))  # type: ignore[index]
    locked = (ROOT / "requirements/dev.txt").read_text()
    assert all(re.search(rf"^{name}==", locked, re.MULTILINE) for name in wanted)
    closure, todo = set(), ["hatchling"]
    while todo:
        name = todo.pop()
        if name not in closure:
            closure.add(name)
            needs = [Requirement(text) for text in distribution(name).requires or []]
            todo += [need.name for need in needs if need.marker is None or need.marker.evaluate()]
    assert wanted == closure


def test_the_image_is_quiet_and_safe() -> None:
    """Stopped in good order, watched for life and not for readiness, and run as nobody in particular."""
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE
    health = re.search(r"HEALTHCHECK.*?CMD (\[.*?\])$", DOCKERFILE, re.DOTALL | re.MULTILINE)
    assert health
    assert "/livez" in json.loads(health[1])[-1]
    assert "/readyz" in SERVICES["engine"]["healthcheck"]["test"][-1]
    assert {"/livez", "/readyz"} == OPEN_PATHS
    assert not re.search(r"^(ENV|ARG).*(PASSWORD|KEY|TOKEN|SECRET)", DOCKERFILE, re.MULTILINE)


def test_nothing_but_the_product_gets_into_the_image() -> None:
    """The context of a build is sent as a whole: runs, environments and secrets must not be in it."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in {"", "#"}]
    assert lines[0] == "*"
    kept = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
        if not source.startswith("--")
    }
    assert kept == copied
    assert all((ROOT / name).exists() for name in kept)


@pytest.mark.parametrize(
    "script", sorted(DEPLOY.rglob("*.sh")), ids=lambda path: str(path.relative_to(DEPLOY))
)
def test_scripts_are_plain_shell(script: Path) -> None:
    """Small images have no bash, and a script that may not be executed ends a start."""
    assert script.read_text().startswith("#!/bin/sh\n")
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0


def _made(folder: Path) -> dict[str, str]:
    subprocess.run([str(folder / "secrets.sh")], check=True, capture_output=True)
    return {path.name: path.read_text() for path in (folder / "secrets").iterdir()}


def test_secrets_are_made_once_and_are_private(tmp_path: Path) -> None:
    """A second call must not lock everybody out, and the folder must not be readable by others."""
    shutil.copy(DEPLOY / "secrets.sh", tmp_path)
    first, again = (_made(tmp_path) for _ in range(2))
    assert first == again
    assert first.keys() == COMPOSE["secrets"].keys()
    assert len(set(first.values())) == len(first)
    assert all(re.fullmatch(r"[0-9a-f]{64}\n", secret) for secret in first.values())
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


# ------------------------------------------------------------------------------------------- monitoring


def _exposed() -> set[str]:
    metrics = Metrics()
    metrics.refresh(still())
    metrics.on_solve(0.1, "optimal")
    return set(re.findall(r"^([a-z_]+)(?=[ {])", metrics.text().decode(), re.MULTILINE))


def _queries() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (note["expr"] for note in DASHBOARD["annotations"]["list"])
    yield from (rule["expr"] for group in RULES["groups"] for rule in group["rules"])


def _named(query: str) -> set[str]:
    return set(re.findall(r"\b(?:astra|process)_[a-z_]+", query))


def test_every_metric_asked_for_exists() -> None:
    """A panel without data looks like a quiet day, and an alert rule on nothing never fires."""
    asked = {name for query in _queries() for name in _named(query)}
    assert asked - _exposed() == set()


def test_every_metric_is_shown() -> None:
    """What is measured and not shown is forgotten, and then wrong."""
    asked = {name for query in _queries() for name in _named(query)}
    parts = re.compile(r"_(?:bucket|sum|count)$")
    shown = {parts.sub("", name) for name in asked}
    ours = {name for name in _exposed() if name.startswith("astra_") and not name.endswith("_created")}
    assert {parts.sub("", name) for name in ours} - shown == {"astra_info"}


def test_the_dashboard_is_whole() -> None:
    """Grafana leaves out what it does not understand, without a word."""
    panels = DASHBOARD["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["title"]
            assert panel["description"]
            assert panel["datasource"]["uid"] == _datasource()["uid"]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken), "panels overlap"


def _datasource() -> dict[str, Any]:
    file = DEPLOY / "grafana/provisioning/datasources/prometheus.yml"
    (source,) = yaml.safe_load(file.read_text())["datasources"]
    return dict(source)


def test_prometheus_scrapes_the_engine_with_its_token() -> None:
    """Without the token every scrape is refused, and everything looks down."""
    (job,) = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["engine:8787"]}]
    assert job["authorization"]["credentials_file"] == "/run/secrets/console_token"
    assert "console_token" in SERVICES["prometheus"]["secrets"]
    for rule in (rule for group in RULES["groups"] for rule in group["rules"]):
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]


# ---------------------------------------------------------------------------------------------- servers


def test_the_broker_knows_every_topic() -> None:
    """A new kind of event that the broker refuses holds up its lane for ever."""
    lines = (DEPLOY / "mosquitto/users.acl").read_text().splitlines()
    written = {line.rpartition("/")[2] for line in lines if line.startswith("topic write astra/@instance@/")}
    assert written == {*KINDS.values(), "status", "online", "delivered", "commands"}


UNIT = (DEPLOY / "systemd/astra.service").read_text()


def test_the_unit_fits_the_engine() -> None:
    """It must wait longer than the engine's own watchdog, and not restart what cannot start."""
    values = dict(line.split("=", 1) for line in UNIT.splitlines() if "=" in line and line[0] != "#")
    assert (values["Type"], values["NotifyAccess"], values["Restart"]) == ("notify", "main", "on-failure")
    assert int(values["WatchdogSec"]) > 2 * 10  # [daemon] step_max_s
    assert values["RestartPreventExitStatus"] == "2 3"
    assert values["User"] == "astra"
    assert "MemoryDenyWriteExecute" not in values, "kernels are compiled at run time"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """A setting that systemd does not know is ignored, with a line in its log that nobody reads."""
    unit = re.sub(r"^ExecStart=.*", "ExecStart=/bin/true", UNIT, flags=re.MULTILINE)
    (tmp_path / "astra.service").write_text(unit.replace("EnvironmentFile=/", "EnvironmentFile=-/"))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "astra.service")]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    about_it = [line for line in said.stderr.splitlines() if "astra.service" in line]
    assert (said.returncode, about_it) == (0, [])
