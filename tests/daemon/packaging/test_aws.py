"""The CloudFormation template: sound, deployed on a stand-in as far as that goes, and at one with the daemon.

The stand-in knows no scaling policies, alarms and policies of queues and buckets; of these, what they say is looked at.
"""

import ast
import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import orjson
import pytest
from cfnlint.decode import decode

from reportd.adapters.aws.cloudwatch import CloudWatch
from reportd.cli.provision import provision
from reportd.cli.provision_plan import FoundBucket, WantedBucket, plan_bucket
from reportd.config import Config, load
from reportd.core.capacity.scaling import Demand
from tests.servers.aws import ENVIRONMENT, REGION, pretend_credentials
from tests.simulation.group import STEPS

PACKAGING = Path(__file__).parents[3] / "packaging" / "aws"
TEMPLATE = PACKAGING / "reportd.yaml"
IMAGE = "/fleet/image"
"""The stand-in has none of the parameters that AWS itself keeps."""

GIVEN = {
    "PackageBucket": "packages",
    "PackageKey": "reportd_0.1.0_amd64.deb",
    "PackageSha256": "0" * 64,
    "ImageId": IMAGE,
    "DatabaseParameter": "/fleet/database",
    "TokensParameter": "/fleet/tokens",
    "ReportsParameter": "/fleet/reports",
    "BreakerStore": "redis://redis.internal:6379/0",
    "MaxNodes": "200",
}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    """As it is written, with the long names of the functions in it."""
    loaded, faults = decode(str(TEMPLATE))
    assert faults == []
    return dict(loaded)


class Stack:
    """The template, deployed. ``resources``: what became of each of its names."""

    def __init__(self, server: str, name: str) -> None:
        self.server = server
        self.name = name
        ec2 = self.client("ec2")
        subnets = ec2.describe_subnets()["Subnets"]
        network = {"VpcId": subnets[0]["VpcId"], "SubnetIds": ",".join(each["SubnetId"] for each in subnets)}
        image = ec2.describe_images()["Images"][0]["ImageId"]
        self.client("ssm").put_parameter(Name=IMAGE, Value=image, Type="String")
        formation = self.client("cloudformation")
        formation.create_stack(
            StackName=name,
            TemplateBody=TEMPLATE.read_text().replace("/aws/service/debian/release/13/latest/amd64", IMAGE),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in (GIVEN | network).items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        [told] = formation.describe_stacks(StackName=name)["Stacks"]
        assert told["StackStatus"] == "CREATE_COMPLETE"
        self.outputs = {each["OutputKey"]: each["OutputValue"] for each in told["Outputs"]}
        made = formation.describe_stack_resources(StackName=name)["StackResources"]
        self.resources = {
            each["LogicalResourceId"]: each["PhysicalResourceId"] for each in made if "PhysicalResourceId" in each
        }

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.server,
            aws_access_key_id=ENVIRONMENT["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        )

    def queue(self, url: str) -> dict[str, Any]:
        asked = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        return dict(asked["Attributes"])

    def user_data(self) -> str:
        asked = self.client("ec2").describe_launch_template_versions(
            LaunchTemplateId=self.resources["LaunchTemplate"], Versions=["$Latest"]
        )
        [version] = asked["LaunchTemplateVersions"]
        return base64.b64decode(version["LaunchTemplateData"]["UserData"]).decode()

    def settings(self) -> str:
        """The configuration that a node writes for itself."""
        [text] = re.findall(r"(?s)reportd\.toml <<'END'\n(.*?)\nEND\n", self.user_data())
        return str(text)


@pytest.fixture(scope="module")
def stack(moto: str) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as patch:
        pretend_credentials(patch)
        yield Stack(moto, "fleet")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_credentials(monkeypatch)


def configured(stack: Stack, tmp_path: Path, text: str) -> Config:
    file = tmp_path / "reportd.toml"
    file.write_text(text)
    environ = {
        "HOME": "/home/ada",
        "REPORTD_DATABASE__URL": "postgresql://reportd:secret@db.internal/reportd",
        "REPORTD_AUTH__TOKENS_FILE": "/run/credentials/reportd.service/tokens",
        "REPORTD_QUEUE__ENDPOINT_URL": stack.server,
        "REPORTD_ARTIFACTS__ENDPOINT_URL": stack.server,
    }
    return load(file, environ)


# --- as it stands -------------------------------------------------------------------------------------------


def test_cfn_lint_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([linter, TEMPLATE], capture_output=True, text=True, check=False, timeout=300)
    assert (done.stdout, done.returncode) == ("", 0)


def test_no_step_of_scale_in_is_other_than_the_simulation_has_it(template: dict[str, Any]) -> None:
    policy = template["Resources"]["ScaleIn"]["Properties"]
    alarm = template["Resources"]["TooManyNodes"]["Properties"]
    steps = sorted(
        (round(alarm["Threshold"] + step["MetricIntervalUpperBound"], 9), -step["ScalingAdjustment"] / 100)
        for step in policy["StepAdjustments"]
    )
    assert tuple(steps) == STEPS
    assert (policy["AdjustmentType"], policy["MinAdjustmentMagnitude"]) == ("PercentChangeInCapacity", 1)
    edges = sorted(step.get("MetricIntervalLowerBound", -9.0) for step in policy["StepAdjustments"])
    assert edges[1:] == sorted(step["MetricIntervalUpperBound"] for step in policy["StepAdjustments"])[:-1]
    assert (alarm["EvaluationPeriods"], alarm["ComparisonOperator"]) == (1, "LessThanThreshold")


async def test_the_fleet_follows_what_the_daemon_publishes(template: dict[str, Any], stack: Stack) -> None:
    published: dict[str, Any] = {}

    class Client:
        async def put_metric_data(self, **parameters: Any) -> None:
            published.update(parameters)

    await CloudWatch(Client(), f"reportd/{stack.name}", "fleet-jobs").publish(Demand(1, 1, 1, 1, 1, 1))
    [wanted] = [each for each in published["MetricData"] if each["MetricName"] == "NodesWanted"]
    resources = template["Resources"]
    tracked = resources["ScaleOut"]["Properties"]["TargetTrackingConfiguration"]
    expressions = [
        tracked["CustomizedMetricSpecification"]["Metrics"],
        resources["TooManyNodes"]["Properties"]["Metrics"],
    ]
    for metrics in expressions:
        asked = {each["Id"]: each["MetricStat"]["Metric"] for each in metrics if "MetricStat" in each}
        assert asked["wanted"]["MetricName"] == wanted["MetricName"]
        namespace = asked["wanted"]["Namespace"]["Fn::Sub"].replace("${AWS::StackName}", stack.name)
        assert namespace == published["Namespace"]
        assert asked["wanted"]["Dimensions"] == [{"Name": "Queue", "Value": {"Fn::GetAtt": ["Queue", "QueueName"]}}]
        assert asked["nodes"]["MetricName"] == "GroupInServiceInstances"
        assert [each["Expression"] for each in metrics if each["ReturnData"]] == ["wanted / nodes"]
    assert wanted["Dimensions"] == [{"Name": "Queue", "Value": stack.outputs["QueueUrl"].rpartition("/")[2]}]
    assert (tracked["TargetValue"], tracked["DisableScaleIn"]) == (1, True)


def test_scale_in_waits_until_a_node_has_drained(template: dict[str, Any]) -> None:
    hooks = template["Resources"]["Nodes"]["Properties"]["LifecycleHookSpecificationList"]
    by_name = {each["LifecycleHookName"]: each for each in hooks}
    assert by_name["terminating"]["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    assert by_name["terminating"]["HeartbeatTimeout"] >= Config().shutdown.drain_seconds + 60
    assert by_name["launching"]["DefaultResult"] == "ABANDON", "who does not render is not in service"


def test_the_target_is_worth_something(template: dict[str, Any]) -> None:
    least = template["Parameters"]["TargetSeconds"]["MinValue"]
    assert least > Config().scaling.reaction_seconds
    assert template["Parameters"]["TargetSeconds"]["Default"] == Config().scaling.target_seconds


# --- deployed -----------------------------------------------------------------------------------------------


def test_the_queue_redrives_to_its_dead_letter_queue(stack: Stack) -> None:
    jobs, dead = stack.queue(stack.outputs["QueueUrl"]), stack.queue(stack.outputs["DeadLetterQueueUrl"])
    policy = orjson.loads(jobs["RedrivePolicy"])
    assert policy == {"deadLetterTargetArn": dead["QueueArn"], "maxReceiveCount": 20}
    assert (jobs["VisibilityTimeout"], jobs["ReceiveMessageWaitTimeSeconds"]) == ("60", "20")
    assert (jobs["SqsManagedSseEnabled"], dead["SqsManagedSseEnabled"]) == ("true", "true")


def test_the_bucket_is_encrypted(stack: Stack) -> None:
    s3, name = stack.client("s3"), stack.outputs["BucketName"]
    [rule] = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


async def test_there_is_nothing_left_to_provision(stack: Stack, tmp_path: Path) -> None:
    """But for what this server does not take from a template, or does not give back; see the next two."""
    said: list[str] = []
    await provision(configured(stack, tmp_path, stack.settings()), said.append, dry_run=True)
    unknown = ("let only", "public access", "would expire PDFs")
    assert [line for line in said if not any(word in line for word in unknown)] == []


def test_nor_of_the_bucket_s_rules(template: dict[str, Any]) -> None:
    properties = template["Resources"]["Bucket"]["Properties"]
    [rule] = properties["LifecycleConfiguration"]["Rules"]
    days = template["Parameters"][rule["ExpirationInDays"]["Ref"]]["Default"]
    rules = [{"ID": rule["Id"], "Status": rule["Status"], "Expiration": {"Days": days}}]
    found = FoundBucket(encrypted=True, public_access=properties["PublicAccessBlockConfiguration"], rules=rules)
    kept_days = template["Parameters"]["RetentionDays"]["Default"]
    assert list(plan_bucket(WantedBucket("bucket", "reports", kept_days), found)) == []
    assert rule["Prefix"] == "reports/"


def test_nor_of_who_may_redrive(template: dict[str, Any], stack: Stack) -> None:
    policy = template["Resources"]["DeadLetterQueue"]["Properties"]["RedriveAllowPolicy"]
    [source] = policy["sourceQueueArns"]
    given = {"Partition": "aws", "Region": REGION, "AccountId": "123456789012", "StackName": stack.name}
    arn = re.sub(r"\$\{AWS::(\w+)\}", lambda found: given[found[1]], source["Fn::Sub"])
    assert policy["redrivePermission"] == "byQueue"
    assert arn == stack.queue(stack.outputs["QueueUrl"])["QueueArn"]


def test_a_node_may_do_what_it_needs_and_nothing_else(stack: Stack) -> None:
    iam, role = stack.client("iam"), stack.resources["Role"]
    document = iam.get_role_policy(RoleName=role, PolicyName="reportd")["PolicyDocument"]
    if isinstance(document, str):
        document = ast.literal_eval(document)  # which is how this server writes one that came with a template
    allowed = {each["Sid"]: each for each in document["Statement"]}
    assert {each["Effect"] for each in allowed.values()} == {"Allow"}
    actions = [action for each in allowed.values() for action in _listed(each["Action"])]
    assert not [action for action in actions if "*" in action]
    everything = [name for name, each in allowed.items() if each["Resource"] == "*"]
    assert everything == ["Figures"], "PutMetricData knows no resources"
    assert allowed["Figures"]["Condition"] == {"StringEquals": {"cloudwatch:namespace": "reportd/fleet"}}
    queues = {stack.queue(stack.outputs[name])["QueueArn"] for name in ("QueueUrl", "DeadLetterQueueUrl")}
    assert set(allowed["Queues"]["Resource"]) == queues
    assert allowed["Reports"]["Resource"] == f"arn:aws:s3:::{stack.outputs['BucketName']}/reports/*"
    account = f"arn:aws:ssm:{REGION}:123456789012:parameter"
    assert allowed["Settings"]["Resource"] == [f"{account}/fleet/{name}" for name in ("database", "tokens", "reports")]
    assert len(iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]) == 0


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_the_group_has_as_many_nodes_as_it_may(stack: Stack) -> None:
    [group] = stack.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=["fleet-nodes"])[
        "AutoScalingGroups"
    ]
    assert (group["MinSize"], group["MaxSize"]) == (1, 200)
    assert len(group["Instances"]) == 1
    assert group["LaunchTemplate"]["LaunchTemplateId"] == stack.resources["LaunchTemplate"]


# --- a node's first minutes ---------------------------------------------------------------------------------


def test_the_script_that_makes_a_node_is_one(stack: Stack) -> None:
    script = stack.user_data()
    assert script.startswith("#!/bin/bash\n")
    assert "${" not in script, "nothing is left to be filled in"
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stderr, done.returncode) == ("", 0)
    assert len(script.encode()) < 16 * 1024, "the most that EC2 takes"


def test_what_a_node_is_told_is_a_sound_configuration(stack: Stack, tmp_path: Path) -> None:
    config = configured(stack, tmp_path, stack.settings())
    assert config.queue.url == stack.outputs["QueueUrl"]
    assert config.queue.dead_letter_url == stack.outputs["DeadLetterQueueUrl"]
    assert config.artifacts.url == f"s3://{stack.outputs['BucketName']}/reports"
    assert config.scaling.cloudwatch_namespace == "reportd/fleet"
    assert config.breaker.store == "redis://redis.internal:6379/0"
    assert (config.queue.region, config.artifacts.region, config.scaling.region) == (REGION,) * 3


def test_a_node_that_is_taken_away_drains_before_it_says_so(stack: Stack, tmp_path: Path) -> None:
    """The script is run with stand-ins for what it calls."""
    script = stack.user_data()
    functions = script[script.index("metadata()") : script.index("# A node that could not")]
    [body] = re.findall(r"(?s)cat <<'END'; } > /usr/local/lib/reportd/drain\n(.*?)\nEND\n", script)
    states = tmp_path / "states"
    states.write_text("InService\nInService\nTerminated\n")
    stand_ins = f"""
    curl() {{
        case "$*" in
        *token*PUT*|*PUT*token*) echo secret ;;
        *target-lifecycle-state) head -n 1 {states}; sed -i 1d {states} ;;
        *instance-id) echo i-0123 ;;
        esac
    }}
    sleep() {{ echo "sleep $*"; }}
    systemctl() {{ echo "systemctl $*"; }}
    aws() {{ echo "aws $*"; }}
    """
    done = subprocess.run(
        ["bash", "-eu"],
        input=f"{functions}\n{stand_ins}\n{body}\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    said = done.stdout.splitlines()
    assert said[:3] == ["sleep 5", "sleep 5", "systemctl stop reportd"]
    assert "complete-lifecycle-action" in said[3]
    assert "--lifecycle-hook-name terminating --lifecycle-action-result CONTINUE --instance-id i-0123" in said[3]


def test_secrets_are_not_in_what_everybody_may_read(stack: Stack) -> None:
    script = stack.user_data()
    assert "install -m 600 /dev/null /etc/reportd/tokens" in script
    assert "install -m 600 /dev/null /etc/reportd/environment" in script
    assert "postgresql" not in script
