"""Bucket policies, against the requests that maskmill makes; moto carries them out, so that a wrong resource fails."""

import json
from pathlib import Path
from typing import Any

import pytest

POLICIES = Path(__file__).parents[2] / "infra" / "policies"

KNOWN = {
    *(
        "s3:ListBucket",
        "s3:ListBucketMultipartUploads",
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:AbortMultipartUpload",
    ),
    *("ec2:DescribeInstances", "ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances"),
    *("ssm:GetParameters", "iam:PassRole"),
}
"""Actions that policies here may name; IAM takes a misspelled one in silence."""

SHARDS, LABELS = "shards-bucket", "labels-bucket"

ALLOWED: list[tuple[str, dict[str, str]]] = [
    # Reading: a listing of shards, their size and etag, their bytes.
    ("list_objects_v2", {"Bucket": SHARDS, "Prefix": "shards/"}),
    ("head_object", {"Bucket": SHARDS, "Key": "shards/a.tar"}),
    ("get_object", {"Bucket": SHARDS, "Key": "shards/a.tar"}),
    # Writing: what is done, a run's files in one PUT or in parts, once more on retry.
    ("list_objects_v2", {"Bucket": LABELS, "Prefix": "runs/first/labels/"}),
    ("put_object", {"Bucket": LABELS, "Key": "runs/first/run.json"}),
    ("get_object", {"Bucket": LABELS, "Key": "runs/first/run.json"}),
    ("put_object", {"Bucket": LABELS, "Key": "runs/first/labels/a.parquet"}),
    ("head_object", {"Bucket": LABELS, "Key": "runs/first/labels/a.parquet"}),
    ("put_object", {"Bucket": LABELS, "Key": "runs/first/labels/a.parquet"}),
    ("create_multipart_upload", {"Bucket": LABELS, "Key": "runs/first/labels/b.parquet"}),
    ("put_object", {"Bucket": LABELS, "Key": "runs/first/ledger-parts/a.parquet"}),
    ("put_object", {"Bucket": LABELS, "Key": "runs/first/failed/a.json"}),
    # Settling: parts are merged, and a failure that was made good goes.
    ("delete_object", {"Bucket": LABELS, "Key": "runs/first/ledger-parts/a.parquet"}),
    ("delete_object", {"Bucket": LABELS, "Key": "runs/first/failed/a.json"}),
]

DENIED: list[tuple[str, dict[str, str]]] = [
    ("put_object", {"Bucket": SHARDS, "Key": "shards/a.tar"}),
    ("delete_object", {"Bucket": SHARDS, "Key": "shards/a.tar"}),
    ("get_object", {"Bucket": SHARDS, "Key": "private/a.tar"}),
    ("delete_object", {"Bucket": LABELS, "Key": "runs/first/labels/a.parquet"}),
    ("delete_object", {"Bucket": LABELS, "Key": "runs/first/run.json"}),
    ("delete_object", {"Bucket": LABELS, "Key": "runs/first/ledger.parquet"}),
    ("delete_object", {"Bucket": LABELS, "Key": "runs/first/manifest/a.parquet"}),
    ("put_object", {"Bucket": LABELS, "Key": "others/a"}),
    ("get_object", {"Bucket": LABELS, "Key": "others/a"}),
]


def policy(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((POLICIES / name).read_text())
    return loaded


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize("name", sorted(path.name for path in POLICIES.glob("*.json")))
def test_a_policy_is_one(name: str) -> None:
    document = policy(name)
    assert set(document) == {"Version", "Statement"}
    assert document["Version"] == "2012-10-17"
    for statement in document["Statement"]:
        assert set(statement) - {"Condition"} == {"Sid", "Effect", "Action", "Resource"}
        assert statement["Effect"] == "Allow"
        assert set(as_list(statement["Action"])) <= KNOWN
        assert all(resource == "*" or resource.startswith("arn:aws:") for resource in as_list(statement["Resource"]))


@pytest.mark.parametrize("name", ["read.json", "write.json"])
def test_a_listing_that_states_a_prefix_states_the_policy_s(name: str) -> None:
    lists = [one for one in policy(name)["Statement"] if "s3:ListBucket" in as_list(one["Action"])]
    (statement,) = lists
    (bucket,) = as_list(statement["Resource"])
    assert "/" not in bucket
    # IfExists: S3 asks for this permission, without a prefix, to answer 404 and not 403 about a key that isn't there,
    # and 404 is how a command knows an output that is new. The price: a listing without any prefix passes too.
    ((operator, condition),) = statement["Condition"].items()
    assert operator == "StringLikeIfExists"
    (prefixes,) = condition.values()
    objects = [
        resource
        for one in policy(name)["Statement"]
        if "s3:GetObject" in as_list(one["Action"])
        for resource in as_list(one["Resource"])
    ]
    assert objects == [f"{bucket}/{prefixes[0]}/*"]
    assert prefixes == [prefixes[0], f"{prefixes[0]}/*"]


@pytest.fixture(scope="module")
def store() -> Any:
    """A store that holds requests to the two policies, as one user's; moto looks at actions and resources."""
    import boto3
    import moto.settings
    from moto import mock_aws
    from moto.core.responses import ActionAuthenticatorMixin

    texts = {name: (POLICIES / name).read_text() for name in ("read.json", "write.json")}
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        admin = boto3.client("s3", **keys)
        for bucket in (SHARDS, LABELS):
            admin.create_bucket(Bucket=bucket)
        admin.put_object(Bucket=SHARDS, Key="shards/a.tar")
        admin.put_object(Bucket=SHARDS, Key="private/a.tar")
        admin.put_object(Bucket=LABELS, Key="others/a")
        iam = boto3.client("iam", **keys)
        iam.create_user(UserName="maskmill")
        for name, text in texts.items():
            document = text.replace("SHARDS-BUCKET", SHARDS).replace("LABELS-BUCKET", LABELS)
            iam.put_user_policy(UserName="maskmill", PolicyName=name.removesuffix(".json"), PolicyDocument=document)
        own = iam.create_access_key(UserName="maskmill")["AccessKey"]
        keys |= {"aws_access_key_id": own["AccessKeyId"], "aws_secret_access_key": own["SecretAccessKey"]}
        patch.setattr(moto.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
        patch.setattr(ActionAuthenticatorMixin, "request_count", 0)
        yield boto3.client("s3", **keys)


def test_what_label_asks_of_the_buckets_is_allowed(store: Any) -> None:
    for call, request in ALLOWED:
        getattr(store, call)(**request)


@pytest.mark.parametrize(("call", "request_"), DENIED)
def test_what_label_never_does_is_denied(store: Any, call: str, request_: dict[str, str]) -> None:
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError, match="AccessDenied"):
        getattr(store, call)(**request_)
