"""The template as plain CloudFormation, and what CloudFormation makes of its values."""

import re
from pathlib import Path

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
REGION = "eu-central-1"


def given_value(parameter: dict) -> object:
    """A parameter's default in the form in which CloudFormation hands it to the transform."""
    default = str(parameter.get("Default", "x"))
    return default.split(",") if parameter["Type"] == "CommaDelimitedList" else default


def translated() -> dict:
    """The template as CloudFormation."""
    template = yaml_parse(TEMPLATE.read_text())
    # The build puts a place in S3 here.
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    parameters = {name: given_value(given) for name, given in template["Parameters"].items()}
    session = boto3.session.Session(region_name=REGION)
    return Translator({}, Parser(), boto_session=session).translate(template, parameters)


SOURCE = yaml_parse(TEMPLATE.read_text())
PLAIN = translated()
RESOURCES = PLAIN["Resources"]


def of_type(kind: str) -> dict:
    return {name: resource for name, resource in RESOURCES.items() if resource["Type"] == kind}


def binary_of(logical_id: str) -> str:
    metadata = SOURCE["Resources"][logical_id]["Metadata"]
    return metadata["BuildProperties"]["Binary"]


def functions() -> dict:
    """The functions, by the name of their binary."""
    return {binary_of(logical_id): (logical_id, resource["Properties"])
            for logical_id, resource in of_type("AWS::Lambda::Function").items()}


def referenced(value: object) -> set:
    """The logical ids that a value refers to, however."""
    if isinstance(value, dict):
        if "Ref" in value:
            return {value["Ref"]}
        if "Fn::GetAtt" in value:
            target = value["Fn::GetAtt"]
            return {target.split(".")[0] if isinstance(target, str) else target[0]}
        found = set()
        if "Fn::Sub" in value:
            text = value["Fn::Sub"] if isinstance(value["Fn::Sub"], str) else value["Fn::Sub"][0]
            found |= {name.split(".")[0] for name in re.findall(r"\$\{([^!}]+)\}", text)}
        return found.union(*(referenced(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(referenced(inner) for inner in value))
    return set()


def with_default(value: object) -> object:
    """A value of the template, with a parameter's default in place of a reference to it."""
    if isinstance(value, dict) and "Ref" in value:
        return PLAIN["Parameters"][value["Ref"]]["Default"]
    return value


def with_conditions(entries: list) -> list:
    """The entries of a list, each with the conditions under which it is there."""
    found = []
    for entry in entries:
        if "Fn::If" in entry:
            condition, there, otherwise = entry["Fn::If"]
            assert otherwise == {"Ref": "AWS::NoValue"}, otherwise
            found.append(([condition], there))
        else:
            found.append(([], entry))
    return found


# A value that CloudFormation removes from its list or properties.
NO_VALUE = object()


def evaluated(value: object, given: dict) -> object:
    """What CloudFormation makes of a value, with these parameters and the defaults of the others."""
    if isinstance(value, list):
        return [inner for inner in (evaluated(inner, given) for inner in value) if inner is not NO_VALUE]
    if not isinstance(value, dict):
        return value
    match list(value.items()):
        case [("Ref", "AWS::NoValue")]:
            return NO_VALUE
        case [("Ref", name)] if name in PLAIN["Parameters"]:
            return given.get(name, given_value(PLAIN["Parameters"][name]))
        case [("Condition", str(name))]:
            return evaluated(PLAIN["Conditions"][name], given)
        case [("Fn::If", [condition, there, otherwise])]:
            return evaluated(there if evaluated({"Condition": condition}, given) else otherwise, given)
        case [("Fn::Equals", [one, other])]:
            return str(evaluated(one, given)) == str(evaluated(other, given))
        case [("Fn::Not", [inner])]:
            return not evaluated(inner, given)
        case [("Fn::And", all_of)]:
            return all(evaluated(all_of, given))
        case [("Fn::Or", any_of)]:
            return any(evaluated(any_of, given))
        case [("Fn::Join", [between, parts])]:
            return between.join(evaluated(parts, given))
        case [("Fn::EachMemberEquals", [members, other])]:
            return all(member == evaluated(other, given) for member in evaluated(members, given))
    found = {key: evaluated(inner, given) for key, inner in value.items()}
    return {key: inner for key, inner in found.items() if inner is not NO_VALUE}


def refusals(given: dict) -> list:
    """What CloudFormation says against a stack with these parameters, and with tokens if nothing else is said."""
    tokens = {"AuthHs256Secret": "s" * 32, "AuthTenantClaim": "sub"}
    given = tokens | given
    return [assertion["AssertDescription"]
            for rule in PLAIN["Rules"].values() if evaluated(rule.get("RuleCondition", True), given)
            for assertion in rule["Assertions"] if not evaluated(assertion["Assert"], given)]
