"""Dashboard and alerts ask for metrics, tags and values that exist; a typo here is a panel that stays empty unseen."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskmill.pipeline.cluster.metrics import TABLE

INFRA = Path(__file__).parents[2] / "infra"

RAYS_OWN = {
    "ray_node_gpus_utilization": {"ip", "GpuIndex"},
    "ray_node_gram_used": {"ip", "GpuIndex"},
    "ray_node_disk_utilization_percentage": {"ip"},
}
"""Metrics of Ray that are used, and of their tags those that may be."""

EVERYWHERE = {"SessionName"}
"""Tags that Ray gives to every metric."""

FUNCTIONS = {"sum", "avg", "min", "max", "rate", "increase", "histogram_quantile", "by", "and", "or", "unless", "on"}


def own_series() -> dict[str, list[dict[str, str]]]:
    """Exported name -> all sets of tags that it can have."""
    found = {}
    for metric in TABLE:
        for name in metric.exported:
            bucket = {"le": "0"} if name.endswith("_bucket") else {}
            found[name] = [{**tags, **bucket} for tags in metric.series]
    return found


SELECTOR = re.compile(r"([A-Za-z_:][\w:]*)\s*(?:\{([^}]*)\})?")
MATCHER = re.compile(r"(\w+)\s*(=~|!~|!=|=)\s*\"([^\"]*)\"\s*,?\s*")


def wrong_in(expression: str) -> list[str]:
    """What of an expression names nothing that exists; brackets are read, arithmetic is not."""
    series, wrong = own_series(), []
    grouped = set()
    for group in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expression):
        grouped |= {word.strip() for word in group.split(",")}
    rest = re.sub(r"\b(?:by|on|without|ignoring)\s*\([^)]*\)", " ", expression)
    rest = re.sub(r"\[[^\]]*\]", " ", rest)
    known: set[str] = set()
    for name, matchers in SELECTOR.findall(rest):
        if name in FUNCTIONS:
            continue
        if name in series:
            tags = {tag for one in series[name] for tag in one} | EVERYWHERE
            left = series[name]
        elif name in RAYS_OWN:
            tags, left = RAYS_OWN[name] | EVERYWHERE, []
        else:
            wrong.append(f"no metric {name}")
            continue
        known |= tags
        if MATCHER.sub("", matchers).strip():
            wrong.append(f"can't read {{{matchers}}}")
        for tag, operator, value in MATCHER.findall(matchers):
            if tag not in tags:
                wrong.append(f"{name} has no tag {tag}")
            elif tag not in EVERYWHERE and left:
                assert operator in ("=", "=~"), "the check knows no other"
                values = value.split("|") if operator == "=~" else [value]
                there = {tags_of[tag] for tags_of in left}
                wrong += [f"{name} is never {tag}={one!r}" for one in values if one not in there]
    return wrong + [f"no tag {tag} to group by" for tag in sorted(grouped - known)]


def dashboard() -> dict[str, Any]:
    return json.loads((INFRA / "grafana" / "maskmill.json").read_text(encoding="utf-8"))


def asked_by_the_dashboard() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((INFRA / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("expression", [*asked_by_the_dashboard(), *(rule["expr"] for rule in rules())])
def test_every_expression_asks_for_what_exists(expression):
    assert expression.count("(") == expression.count(")")
    assert wrong_in(expression) == []


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("sum(rate(ray_maskmill_imagez_total[5m]))", "no metric ray_maskmill_imagez_total"),
        ("rate(maskmill_images_total[5m])", "no metric maskmill_images_total"),
        ("rate(ray_maskmill_shard_seconds_sum[5m])", "no metric ray_maskmill_shard_seconds_sum"),
        ('ray_maskmill_replicas{status="busy"}', "ray_maskmill_replicas has no tag status"),
        ('ray_maskmill_replicas{state="bussy"}', "ray_maskmill_replicas is never state='bussy'"),
        ('ray_maskmill_shards_total{reason=~"disk|disc"}', "ray_maskmill_shards_total is never reason='disc'"),
        ("sum by (shard) (ray_maskmill_shards_in_flight)", "no tag shard to group by"),
        ("histogram_quantile(0.5, sum by (le, phase) (rate(ray_maskmill_shard_seconds_buckets[5m])))", "no metric ray"),
    ],
)
def test_a_typo_is_found(expression, told):
    assert any(one.startswith(told) for one in wrong_in(expression)), wrong_in(expression)


def test_each_of_our_metrics_is_on_the_dashboard():
    asked = " ".join(asked_by_the_dashboard())
    assert [
        metric.name for metric in TABLE if not any(re.search(rf"{name}\b", asked) for name in metric.exported)
    ] == []


def test_panels_stand_apart_and_each_says_what_it_shows():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        assert panel["description"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        taken |= cells
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)


def test_variables_that_panels_use_are_there():
    board = dashboard()
    variables = {one["name"]: one for one in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"])))
    assert used <= set(variables) | {"__rate_interval"}
    asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables["session"]["query"]["query"])
    assert asked is not None
    assert asked[1] in own_series()
    assert asked[2] in EVERYWHERE


def test_alerts_have_what_prometheus_requires():
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_prometheus_reads_the_alerts_and_the_list_of_machines_that_ray_writes():
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    config = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert all((INFRA / "prometheus" / name).is_file() for name in config["rule_files"])
    (job,) = config["scrape_configs"]
    (found,) = job["file_sd_configs"]
    assert found["files"] == [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool isn't installed: apt-get install prometheus")
def test_prometheus_s_own_checker_takes_configuration_and_alerts():
    command = ["promtool", "check", "config", str(INFRA / "prometheus" / "prometheus.yml")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{len(rules())} rules found" in ended.stdout + ended.stderr


def test_the_pod_monitor_scrapes_the_port_that_the_cluster_names():
    monitor = yaml.safe_load((INFRA / "prometheus" / "pod_monitor.yaml").read_text(encoding="utf-8"))
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    cluster = yaml.safe_load((INFRA / "kuberay" / "raycluster.yaml").read_text(encoding="utf-8"))
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    for group in groups:
        ports = group["template"]["spec"]["containers"][0]["ports"]
        assert {"name": endpoint["port"], "containerPort": 8080} in ports
