"""What infra/ and ray_cluster.yaml hold, against the schemas of the tools that read them."""

import copy
import json
import re
import shlex
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "infra" / "kuberay"
LAUNCHER = ROOT / "ray_cluster.yaml"

Manifest = dict[str, Any]


def launcher() -> Manifest:
    return yaml.safe_load(LAUNCHER.read_text())


def kuberay(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((KUBERAY / name).read_text()))


def cluster_spec() -> Manifest:
    return kuberay("raycluster.yaml")[0]["spec"]


def workers() -> Manifest:
    (group,) = cluster_spec()["workerGroupSpecs"]
    return group


def job() -> Manifest:
    return kuberay("rayjob.yaml")[0]["spec"]


def check_launcher(manifest: Manifest) -> None:
    """What `ray up` checks, and fields of a machine type's options, whose schema leaves them open."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    jsonschema.validate(manifest, json.loads(files("ray.autoscaler").joinpath("ray-schema.json").read_text()))
    validate_config(prepare_config(copy.deepcopy(manifest)))


def check_kuberay(manifest: Manifest) -> None:
    schema = json.loads((ROOT / "tests" / "data" / "kuberay.schema.json").read_text())
    kinds = {name for name in schema["definitions"] if name[0].isupper()}
    assert manifest.get("kind") in kinds
    # The definition of its kind alone, so that what is said of an error names the field.
    jsonschema.validate(manifest, schema | {"oneOf": [{"$ref": f"#/definitions/{manifest['kind']}"}]})


def ray_version() -> str:
    (line,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return str(line)


def keys(node: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of all keys of mappings below a node."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key)
            yield from keys(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from keys(value, (*path, index))


def misspelled(manifest: Manifest, path: tuple[str | int, ...]) -> Manifest:
    """The manifest with one key's last letter twice."""
    changed = copy.deepcopy(manifest)
    node: Any = changed
    for step in path[:-1]:
        node = node[step]
    name = str(path[-1])
    node[name + name[-1]] = node.pop(path[-1])
    return changed


FREE = {"nodeSelector", "annotations", "labels"}
"""Mappings whose keys are the user's own."""


# The launcher file


def test_the_launcher_file_is_what_ray_up_takes() -> None:
    check_launcher(launcher())


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in keys(launcher())
        # Names of machine types are ours, resources and mounts are the user's, and two levels are open in Ray's schema:
        # provider's own fields, which the next test covers, and machines' options, which AWS's client checks.
        if not set(path) & {"file_mounts", "provider", "node_config"}
        and path[:-1] not in {("available_node_types",), ("available_node_types", path[1:2], "resources")}
        and path[-2:-1] != ("resources",)
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_a_misspelled_field_of_the_launcher_file_is_refused(path: tuple[str | int, ...]) -> None:
    with pytest.raises((jsonschema.ValidationError, ValueError, KeyError, AssertionError)):
        check_launcher(misspelled(launcher(), path))


def test_provider_fields_are_those_of_aws() -> None:
    known = {"type", "region", "availability_zone", "cache_stopped_nodes", "use_internal_ips", "security_group"}
    assert set(launcher()["provider"]) <= known


def test_the_head_gives_no_cpus_and_workers_are_spot_machines_with_a_gpu() -> None:
    types = launcher()["available_node_types"]
    head = types.pop(launcher()["head_node_type"])
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    for worker in types.values():
        assert worker["resources"]["GPU"] >= 1
        # A replica takes (CPUs - 1) / GPUs: one must stay for the tasks that feed it.
        assert worker["resources"]["CPU"] >= 2
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert worker["min_workers"] <= worker["max_workers"] <= launcher()["max_workers"]


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manifest]:
    """What Ray makes of the launcher file before it starts machines, on an AWS that moto plays."""
    for name, value in {"HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(name, value)
    import boto3
    from moto import mock_aws
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.util import prepare_config

    with mock_aws():
        iam = boto3.client("iam", "us-west-2")
        for name in ("maskmill-head", "maskmill-worker"):
            iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
            iam.create_instance_profile(InstanceProfileName=name)
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        yield bootstrap_aws(prepare_config(launcher()))


def test_ray_starts_both_kinds_of_machine_from_the_launcher_file(ready: Manifest) -> None:
    # Ray's own AWS code: misspelled options of a machine are refused by AWS's client.
    import boto3
    from botocore.exceptions import ParamValidationError
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
    for name, kind in ready["available_node_types"].items():
        provider.create_node(kind["node_config"], {"ray-node-type": name}, 1)
        with pytest.raises(ParamValidationError):
            provider.create_node(misspelled(kind["node_config"], ("InstanceType",)), {}, 1)
    instances = [
        instance
        for reservation in boto3.client("ec2", "us-west-2").describe_instances()["Reservations"]
        for instance in reservation["Instances"]
    ]
    assert [instance.get("InstanceLifecycle") for instance in instances] == [None, "spot"]
    profiles = [instance["IamInstanceProfile"]["Arn"].rpartition("/")[2] for instance in instances]
    assert profiles == ["maskmill-head", "maskmill-worker"]


AWS_ASKS_ITSELF = {"iam:PassRole", "ssm:GetParameters"}
"""What AWS wants to be permitted as part of RunInstances: to hand on the profile, to look up the image."""


def test_the_head_s_policy_is_what_ray_asks_of_ec2_there(ready: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.client import BaseClient
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    called = set()
    carry_out = BaseClient._make_api_call

    def noted(client: Any, operation: str, arguments: Any) -> Any:
        called.add(f"{client.meta.service_model.service_name}:{operation}")
        return carry_out(client, operation, arguments)

    # What `ray up` does with the user's own rights is over; from here on it is the autoscaler on the head.
    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
    worker = ready["available_node_types"]["gpu-spot"]["node_config"]
    for _ in range(2):
        provider.create_node(worker, {"ray-node-type": "gpu-spot"}, 1)
    first, second = provider.non_terminated_nodes({})
    assert provider.internal_ip(first)
    assert provider.is_running(first)
    provider.set_node_tags(first, {"ray-node-status": "up-to-date"})
    provider.terminate_node(first)
    provider.terminate_nodes([second])
    assert provider.non_terminated_nodes({}) == []
    statements = json.loads((ROOT / "infra" / "policies" / "head.json").read_text())["Statement"]
    actions = [one["Action"] for one in statements]
    assert called == set(actions) - AWS_ASKS_ITSELF


# KubeRay


@pytest.mark.parametrize("name", sorted(path.name for path in KUBERAY.glob("*.yaml")))
def test_kuberay_manifests_hold_only_fields_that_exist(name: str) -> None:
    for manifest in kuberay(name):
        check_kuberay(manifest)


@pytest.mark.parametrize("name", sorted(path.name for path in KUBERAY.glob("*.yaml")))
def test_any_misspelled_field_of_a_kuberay_manifest_is_refused(name: str) -> None:
    tried = 0
    for manifest in kuberay(name):
        for path in keys(manifest):
            if path[-2:-1] and path[-2] in FREE:
                continue
            tried += 1
            with pytest.raises((jsonschema.ValidationError, AssertionError)):
                check_kuberay(misspelled(manifest, path))
    assert tried >= 8


def test_values_of_the_wrong_kind_are_refused() -> None:
    for path, value in {
        ("enableInTreeAutoscaling",): "yes",
        ("authOptions", "mode"): "tokens",
        ("autoscalerOptions", "version"): "v3",
        ("rayVersion",): 2.6,
        ("workerGroupSpecs", 0, "maxReplicas"): "16",
        ("headGroupSpec", "rayStartParams", "num-cpus"): 0,
        ("headGroupSpec", "template", "spec", "restartPolicy"): "never",
    }.items():
        manifest = kuberay("raycluster.yaml")[0]
        node: Any = manifest["spec"]
        for step in path[:-1]:
            node = node[step]
        assert path[-1] in node
        node[path[-1]] = value
        with pytest.raises(jsonschema.ValidationError):
            check_kuberay(manifest)


def test_the_job_and_the_standing_cluster_are_of_one_shape() -> None:
    assert job()["rayClusterSpec"] == cluster_spec()


def test_the_job_ends_its_cluster_and_is_tried_again() -> None:
    assert job()["shutdownAfterJobFinishes"] is True
    assert job()["ttlSecondsAfterFinished"] > 0
    assert job()["backoffLimit"] > 0


def test_the_entrypoint_is_a_label_command_and_its_environment_is_one() -> None:
    from maskmill.jobs.cli import app

    program, dash, module, *arguments = shlex.split(job()["entrypoint"])
    assert (program, dash, module) == ("python", "-m", "jobs.label")
    # Every word is one that `label` knows; it isn't run.
    _, bound, _ = app().parse_args(["label", *arguments], exit_on_error=False, print_error=False)
    assert bound.arguments["output"].startswith("s3://")
    # All three are stated, so that it may start before a machine is there; and a CPU stays for what feeds the replica.
    replica = bound.arguments["replica"]
    assert (bound.arguments["model"].device, replica.bounds()) == ("cuda", (1, workers()["maxReplicas"]))
    (worker,) = workers()["template"]["spec"]["containers"]
    assert replica.cpus_per_replica < int(worker["resources"]["limits"]["cpu"])
    environment = yaml.safe_load(job()["runtimeEnvYAML"])
    assert set(environment) <= {"env_vars", "working_dir", "py_modules"}
    assert all(isinstance(value, str) for value in environment["env_vars"].values())


def pods() -> list[tuple[str, Manifest]]:
    groups = cluster_spec()["workerGroupSpecs"]
    head = ("head", cluster_spec()["headGroupSpec"]["template"]["spec"])
    return [head, *((group["groupName"], group["template"]["spec"]) for group in groups)]


@pytest.mark.parametrize(("name", "pod"), pods())
def test_a_pod_is_confined_and_gets_what_it_asks_for(name: str, pod: Manifest) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 1000
    assert pod["restartPolicy"] == "Never"
    accounts = {account["metadata"]["name"] for account in kuberay("serviceaccounts.yaml")}
    assert pod["serviceAccountName"] in accounts
    memory = {volume["name"] for volume in pod["volumes"] if volume["emptyDir"].get("medium") == "Memory"}
    for container in pod["containers"]:
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert {mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/dev/shm"} == memory
    gpus = pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0)
    assert (gpus > 0) == (name != "head")
    assert bool(pod.get("tolerations")) == (name != "head")


def test_head_and_workers_stand_on_different_machines() -> None:
    assert len({tuple(pod["nodeSelector"].items()) for _, pod in pods()}) == len(pods())


def test_the_head_gives_no_cpus() -> None:
    assert cluster_spec()["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_clusters_ask_for_a_token() -> None:
    assert cluster_spec()["authOptions"] == {"mode": "token"}
    assert "--env RAY_AUTH_MODE=token" in launcher()["docker"]["run_options"]
    assert "/home/maskmill/.ray/auth_token" in launcher()["file_mounts"]


# One version


def test_images_are_tagged_with_ray_s_version() -> None:
    images = [container["image"] for _, pod in pods() for container in pod["containers"]]
    images += [launcher()["docker"]["image"]]
    assert {image.rpartition(":")[2] for image in images} == {ray_version()}
    assert len({image.rpartition(":")[0] for image in images}) == 1
    assert cluster_spec()["rayVersion"] == ray_version()


def test_the_object_store_fits_in_shared_memory() -> None:
    def mentioned(text: str, option: str) -> int:
        return int(re.findall(rf"--{option}=(\d+)", text)[0])

    docker = launcher()["docker"]
    for kind in ("head", "worker"):
        shared = mentioned(" ".join(docker[f"{kind}_run_options"]), "shm-size") * 10**9
        assert mentioned(" ".join(launcher()[f"{kind}_start_ray_commands"]), "object-store-memory") < shared
    groups = [cluster_spec()["headGroupSpec"], *cluster_spec()["workerGroupSpecs"]]
    for group in groups:
        (volume,) = group["template"]["spec"]["volumes"]
        shared = int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30
        assert int(group["rayStartParams"]["object-store-memory"]) < shared
