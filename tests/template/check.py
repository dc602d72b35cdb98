"""Checks of template.yaml that no linter makes: what it deploys is what the package builds and the API serves.

The template is first translated to plain CloudFormation, without a network. The result is linted and checked, because
SAM would let a misspelt reference pass.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest
from fnmatch import fnmatch
from pathlib import Path

from cloudformation import (
    PLAIN,
    REGION,
    RESOURCES,
    ROOT,
    SOURCE,
    evaluated,
    functions,
    of_type,
    referenced,
    refusals,
    translated,
    with_conditions,
    with_default,
)

# The route of each function; one without a route is started by the schedule alone.
ROUTES = {
    "health": {"ANY /health"},
    "push_operations": {"ANY /operations"},
    "pull_changes": {"ANY /changes"},
    "get_document": {"ANY /documents/{collection}/{id}"},
    "query_documents": {"POST /documents/{collection}/query"},
    "get_stats": {"ANY /stats", "$default"},
    "compact": {"ANY /compact"},
    "scheduled_compaction": set(),
}

# The actions of each role, and their resources.
ACTIONS_OF_ALL = {
    "logs:CreateLogStream": "own logs",
    "logs:PutLogEvents": "own logs",
    "xray:PutTraceSegments": "*",
    "xray:PutTelemetryRecords": "*",
}
# The statements of a secret are there if a parameter names one.
ACTIONS_OF_ALL_WITH_A_SECRET = {
    "secretsmanager:GetSecretValue": "DatabaseSecretArn",
    "kms:Decrypt": "SecretKeyArn",
}
# The statement of a database user is there if a parameter names one.
ACTIONS_OF_ALL_WITH_IAM_AUTH = {"rds-db:connect": "DatabaseUserArn"}
CONDITIONS = {
    "DatabaseSecretArn": ["HasSecret"],
    "SecretKeyArn": ["HasSecret", "HasSecretKey"],
    "DatabaseUserArn": ["HasIamAuth"],
    "EventApi": ["HasWakeUps"],
}
ACTIONS_OF_THE_SCHEDULE = {"sqs:SendMessage": "CompactionDeadLetters"}
# The statement of the wake-ups is there if the stack has them.
ACTIONS_OF_PUSHES = {"appsync:EventPublish": "EventApi"}

# A database user as which functions may log in, and the parameters of a stack with such a login.
DATABASE_USER_ARN = f"arn:aws:rds-db:{REGION}:123456789012:dbuser:prx-0a1b2c3d4e5f67890/syncflow"
WITH_IAM_AUTH = {"DatabaseUri": "postgresql://syncflow@h/d?sslmode=verify-full", "DatabaseUserArn": DATABASE_USER_ARN}

# Longest time that an HTTP API waits for a function, in seconds.
API_TIME_MAX_SECONDS = 30


class Template(unittest.TestCase):
    maxDiff = None

    def test_the_translated_template_passes_the_linter(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(PLAIN, file)
            file.flush()
            linted = subprocess.run(
                [sys.executable, shutil.which("cfn-lint"), "--regions", REGION, "--non-zero-exit-code", "warning",
                 "--template", file.name],
                capture_output=True, text=True, check=False)
        self.assertEqual(linted.returncode, 0, linted.stdout + linted.stderr)

    def test_every_binary_has_its_function_and_every_function_its_binary(self):
        manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
        binaries = {binary["name"] for binary in manifest["bin"] if binary["path"].startswith("handlers/")}
        sources = {path.stem for path in (ROOT / "handlers").glob("*.rs")}
        self.assertEqual(binaries, sources)
        self.assertEqual(set(functions()), binaries)
        self.assertEqual(set(ROUTES), binaries)
        self.assertEqual(len(of_type("AWS::Lambda::Function")), len(binaries), "two functions have one binary")

    def test_every_function_is_built_and_run_in_the_same_way(self):
        for binary, (logical_id, function) in functions().items():
            with self.subTest(binary):
                self.assertEqual(SOURCE["Resources"][logical_id]["Metadata"]["BuildMethod"], "rust-cargolambda")
                self.assertEqual(function["Runtime"], "provided.al2023")
                self.assertEqual(function["Architectures"], ["arm64"])
                self.assertEqual(function["Handler"], "bootstrap")
                self.assertEqual(function["TracingConfig"], {"Mode": "Active"})
                self.assertIn("VpcConfig", function)
                self.assertGreaterEqual(function["MemorySize"], 128)
                if ROUTES[binary]:
                    self.assertLess(function["Timeout"], API_TIME_MAX_SECONDS)

    def test_every_route_leads_to_its_function_which_the_api_may_start(self):
        [api] = of_type("AWS::ApiGatewayV2::Api").values()
        seen = {binary: set() for binary in ROUTES}
        by_id = {logical_id: binary for binary, (logical_id, _) in functions().items()}
        for path, methods in api["Properties"]["Body"]["paths"].items():
            for method, operation in methods.items():
                [target] = referenced(operation["x-amazon-apigateway-integration"]["uri"]) & set(by_id)
                name = "$default" if path == "/$default" or path == "$default" else path
                verb = "ANY" if "any" in method else method.upper()
                seen[by_id[target]].add(name if name == "$default" else f"{verb} {name}")
        self.assertEqual(seen, ROUTES)
        allowed = {binary: [] for binary in ROUTES}
        for permission in of_type("AWS::Lambda::Permission").values():
            properties = permission["Properties"]
            self.assertEqual(properties["Principal"], "apigateway.amazonaws.com")
            self.assertEqual(properties["Action"], "lambda:InvokeFunction")
            [target] = referenced(properties["FunctionName"])
            self.assertIn("Api", referenced(properties["SourceArn"]), "any API could start it")
            text, _ = properties["SourceArn"]["Fn::Sub"]
            allowed[by_id[target]].append(text.split("/${__Stage__}/")[1])
        for binary, routes in ROUTES.items():
            for route in routes:
                call = re.sub(r"\{\w+\}", "x", route).replace(" ", "").replace("ANY", "GET")
                self.assertTrue(any(fnmatch(call, pattern) for pattern in allowed[binary]), f"{route}: {allowed}")
        self.assertEqual(allowed["scheduled_compaction"], [], "the API cannot start what only the schedule should")

    def test_routes_are_those_of_the_api(self):
        served = set()
        for source in (ROOT / "src/api/endpoints").glob("*.rs"):
            for attribute in re.findall(r"#\[utoipa::path\((.*?)\)\]", source.read_text(), re.DOTALL):
                served |= set(re.findall(r'path = "([^"]+)"', attribute))
        routed = {route.split(" ")[1] for routes in ROUTES.values() for route in routes if " " in route}
        local = {"/clients", "/livez", "/readyz", "/openapi.json", "/changes/stream"}
        self.assertEqual(routed - {"$default"}, served - local)

    def test_a_role_may_do_what_its_function_needs_and_no_more(self):
        for binary, (logical_id, function) in functions().items():
            with self.subTest(binary):
                name = logical_id.removesuffix("Function")
                self.assertEqual(referenced(function["Role"]), {f"{name}Role"})
                self.assertEqual(referenced(function["LoggingConfig"]), {f"{name}Logs"})
                properties = RESOURCES[f"{name}Role"]["Properties"]
                trusted = {json.dumps(statement["Principal"])
                           for statement in properties["AssumeRolePolicyDocument"]["Statement"]}
                self.assertEqual(trusted, {'{"Service": "lambda.amazonaws.com"}'})
                self.assertEqual([policy["Fn::If"][0] for policy in properties["ManagedPolicyArns"]], ["HasVpc"])
                allowed = {}
                for conditions, policy in with_conditions(properties["Policies"]):
                    for further, statement in with_conditions(policy["PolicyDocument"]["Statement"]):
                        self.assertEqual(statement["Effect"], "Allow")
                        targets = referenced(statement["Resource"]) or {statement["Resource"]}
                        [target] = targets
                        self.assertEqual(conditions + further, CONDITIONS.get(target, []))
                        actions = statement["Action"]
                        for action in [actions] if isinstance(actions, str) else actions:
                            allowed[action] = "own logs" if target == f"{name}Logs" else target
                needed = ACTIONS_OF_ALL | ACTIONS_OF_ALL_WITH_A_SECRET | ACTIONS_OF_ALL_WITH_IAM_AUTH
                needed |= ACTIONS_OF_THE_SCHEDULE if not ROUTES[binary] else {}
                needed |= ACTIONS_OF_PUSHES if binary == "push_operations" else {}
                self.assertEqual(allowed, needed)

    def test_every_function_may_log_in_with_iam_where_a_database_user_is_given_and_nobody_else(self):
        of_functions = {f"{logical_id.removesuffix('Function')}Role" for logical_id, _ in functions().values()}
        for given, expected in (({}, []), (WITH_IAM_AUTH, [("rds-db:connect", DATABASE_USER_ARN)])):
            for name, role in of_type("AWS::IAM::Role").items():
                with self.subTest(name, given=given):
                    allowed = []
                    for policy in evaluated(role["Properties"]["Policies"], given):
                        for statement in policy["PolicyDocument"]["Statement"]:
                            actions = statement["Action"]
                            for action in [actions] if isinstance(actions, str) else actions:
                                if action.startswith("rds-db:"):
                                    allowed.append((action, statement["Resource"]))
                    self.assertEqual(allowed, expected if name in of_functions else [])

    def test_every_function_logs_in_with_iam_where_a_database_user_is_given(self):
        for given, expected in (({}, None), (WITH_IAM_AUTH, "true")):
            for binary, (_, function) in functions().items():
                with self.subTest(binary, given=given):
                    variables = evaluated(function["Environment"]["Variables"], given)
                    self.assertEqual(variables.get("POSTGRES_IAM_AUTH"), expected)

    def test_wake_ups_are_published_by_the_functions_and_heard_with_a_token(self):
        [api] = of_type("AWS::AppSync::Api").values()
        [channels] = of_type("AWS::AppSync::ChannelNamespace").values()
        self.assertEqual([api["Condition"], channels["Condition"]], ["HasWakeUps"] * 2)
        config = api["Properties"]["EventConfig"]
        self.assertEqual({provider["AuthType"] for provider in config["AuthProviders"]}, {"AWS_IAM", "OPENID_CONNECT"})
        for modes in (config["ConnectionAuthModes"], config["DefaultSubscribeAuthModes"],
                      channels["Properties"]["SubscribeAuthModes"]):
            self.assertEqual(modes, [{"AuthType": "OPENID_CONNECT"}])
        for modes in (config["DefaultPublishAuthModes"], channels["Properties"]["PublishAuthModes"]):
            self.assertEqual(modes, [{"AuthType": "AWS_IAM"}])
        namespace = re.search(r'const NAMESPACE: &str = "([a-z]+)"', (ROOT / "src/aws/appsync.rs").read_text())[1]
        self.assertEqual(channels["Properties"]["Name"], namespace)
        self.assertIn("onSubscribe", json.dumps(channels["Properties"]["CodeHandlers"]))
        for _, function in functions().values():
            variables = function["Environment"]["Variables"]
            self.assertEqual(variables["WAKE"], {"Ref": "Wake"})
            self.assertEqual(variables["APPSYNC_EVENTS_URL"]["Fn::If"][0], "HasWakeUps")

    def test_wake_ups_need_an_issuer_and_a_tenant_or_its_claim(self):
        right = {"DatabaseUri": "postgresql://h/d", "Wake": "appsync", "AuthJwksUrl": "https://id.example.com/jwks",
                 "AuthIssuer": "https://id.example.com", "AuthAudience": "app", "AuthTenantClaim": "sub"}
        self.assertEqual(refusals(right), [])
        self.assertEqual(refusals(right | {"AuthTenantClaim": "", "AuthTenant": "team"}), [])
        for missing in ("AuthIssuer", "AuthTenantClaim"):
            self.assertIn("Wake needs AuthIssuer, and AuthTenant or AuthTenantClaim.", refusals(right | {missing: ""}))
        self.assertNotIn("Wake needs AuthIssuer, and AuthTenant or AuthTenantClaim.",
                         refusals(right | {"AuthTenantClaim": "", "Wake": ""}))

    def test_no_parameter_ends_a_text_of_the_code_that_has_it(self):
        [channels] = of_type("AWS::AppSync::ChannelNamespace").values()
        code = channels["Properties"]["CodeHandlers"]
        names = referenced(code)
        self.assertEqual(names, {"AuthTenant", "AuthTenantClaim", "AuthRoleClaim"})
        self.assertEqual(sum(code["Fn::Sub"].count("'${" + name + "}'") for name in names), code["Fn::Sub"].count("${"))
        for name in names:
            parameter = PLAIN["Parameters"][name]
            self.assertRegex(parameter["Default"], parameter["AllowedPattern"])
            self.assertRegex("https://x.example/tenant", parameter["AllowedPattern"])
            for wrong in ("a'b", "a\\", "a\nb", "'"):
                self.assertNotRegex(wrong, parameter["AllowedPattern"])

    def test_a_login_with_iam_that_is_not_possible_is_refused(self):
        self.assertEqual(refusals(WITH_IAM_AUTH), [])
        secret = {"DatabaseSecretArn": f"arn:aws:secretsmanager:{REGION}:123456789012:secret:s"}
        for wrong, expected in (
            ({"Adapter": "mongodb"}, ["DatabaseUserArn is for PostgreSQL alone."]),
            (secret, ["DatabaseUserArn and DatabaseSecretArn exclude each other."]),
            ({"DatabaseUri": ""},
             ["DatabaseUri or DatabaseSecretArn is needed.", "DatabaseUserArn needs DatabaseUri."]),
        ):
            with self.subTest(wrong):
                self.assertEqual(refusals(WITH_IAM_AUTH | wrong), expected)
                # The same stack without the login is as good as before.
                without = WITH_IAM_AUTH | wrong | {"DatabaseUserArn": ""}
                self.assertEqual([line for line in refusals(without) if "DatabaseUserArn" in line], [])

    def test_a_database_user_is_one_and_no_pattern(self):
        parameter = PLAIN["Parameters"]["DatabaseUserArn"]
        self.assertEqual(parameter["Default"], "")
        of_account = "rds-db:eu-central-1:123456789012:dbuser"
        for right in (
            "", DATABASE_USER_ARN, f"arn:aws:{of_account}:db-ABC1/user", f"arn:aws-cn:{of_account}:db-ABC1/user",
            f"arn:aws-us-gov:{of_account}:cluster-A/a.b@c",
        ):
            self.assertRegex(right, parameter["AllowedPattern"])
        for wrong in (
            "*", "syncflow", f"arn:aws:{of_account}:*/user", f"arn:aws:{of_account}:db-A/*",
            f"arn:aws:{of_account}:db-A/u?", f"arn:aws:{of_account}:db-A/${{aws:username}}",
            f"arn:aws:{of_account}:db-A", f"arn:aws:{of_account}:db-A/", f"arn:other:{of_account}:db-A/user",
            "arn:aws:rds-db:*:123456789012:dbuser:db-A/user", "arn:aws:rds-db:eu-central-1:*:dbuser:db-A/user",
            "arn:aws:rds:eu-central-1:123456789012:db:name",
        ):
            self.assertNotRegex(wrong, parameter["AllowedPattern"])

    def test_the_schedule_starts_the_compaction_and_tries_again(self):
        [schedule] = of_type("AWS::Scheduler::Schedule").values()
        target = schedule["Properties"]["Target"]
        logical_id, function = functions()["scheduled_compaction"]
        self.assertEqual(referenced(target["Arn"]), {logical_id})
        self.assertEqual(referenced(target["DeadLetterConfig"]), {"CompactionDeadLetters"})
        self.assertGreater(target["RetryPolicy"]["MaximumRetryAttempts"], 0)
        self.assertIn("MaximumEventAgeInSeconds", target["RetryPolicy"])
        event = json.loads(target["Input"]["Fn::Sub"].replace("${CompactOlderThanDays}", "30"))
        self.assertEqual(event, {"olderThanDays": 30})
        self.assert_is_cron(with_default(schedule["Properties"]["ScheduleExpression"]))
        # An event that the scheduler handed over is in Lambda's own queue, which has other dead letters.
        [invocation] = of_type("AWS::Lambda::EventInvokeConfig").values()
        self.assertEqual(referenced(invocation["Properties"]["DestinationConfig"]), {"CompactionDeadLetters"})
        [role] = referenced(target["RoleArn"])
        statements = [statement for policy in RESOURCES[role]["Properties"]["Policies"]
                      for statement in policy["PolicyDocument"]["Statement"]]
        self.assertEqual({statement["Action"]: referenced(statement["Resource"]) for statement in statements},
                         {"lambda:InvokeFunction": {logical_id}, "sqs:SendMessage": {"CompactionDeadLetters"}})

    def assert_is_cron(self, expression: str):
        """Whether an expression is one of EventBridge's: minute, hour, day of month, month, day of week, year."""
        fields = re.fullmatch(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)", expression)
        self.assertIsNotNone(fields, expression)
        minute, hour, day, month, weekday, year = fields.groups()
        for value, least, most in ((minute, 0, 59), (hour, 0, 23), (day, 1, 31), (month, 1, 12), (weekday, 1, 7),
                                   (year, 1970, 2199)):
            if value not in "*?":
                self.assertTrue(least <= int(value) <= most, f"{value} of {expression}")
        self.assertNotIn("?", (minute, hour, month, year), expression)
        self.assertEqual((day, weekday).count("?"), 1, f"one of the days of {expression} has to be ?")

    def test_a_schedule_that_is_none_is_found(self):
        for wrong in ("cron(0 3 * * * *)", "cron(0 3 * * ?)", "cron(60 3 * * ? *)", "0 3 * * ? *"):
            with self.assertRaises(AssertionError, msg=wrong):
                self.assert_is_cron(wrong)

    def test_every_setting_that_is_passed_is_one_that_is_read(self):
        names = (ROOT / "src/config/names.rs").read_text().split("VARIABLES", 1)[1].split("];", 1)[0]
        read = set(re.findall(r'"([A-Z0-9_]+)"', names))
        self.assertGreater(len(read), 10)
        for binary, (_, function) in functions().items():
            variables = function["Environment"]["Variables"]
            self.assertEqual(set(variables) - read, set(), binary)
            self.assertEqual(variables["POOL_SIZE"], "1", binary)
            # Settings of the other store contradict it.
            for variable, value in variables.items():
                if variable.startswith(("POSTGRES", "MONGO")):
                    condition = "IsPostgres" if variable.startswith("POSTGRES") else "IsMongodb"
                    self.assertEqual(value["Fn::If"][0], condition, variable)

    def test_every_parameter_is_used_and_no_secret_has_a_default(self):
        used = referenced({key: value for key, value in PLAIN.items() if key not in ("Parameters", "Metadata")})
        self.assertEqual(set(PLAIN["Parameters"]) - used, set())
        self.assertTrue(PLAIN["Parameters"]["DatabaseUri"]["NoEcho"])
        # It may be left out if a secret has everything, and a stack with neither is refused.
        self.assertEqual(PLAIN["Parameters"]["DatabaseUri"]["Default"], "")
        self.assertEqual(PLAIN["Parameters"]["DatabaseSecretArn"]["Default"], "")
        [assertion] = PLAIN["Rules"]["DatabaseIsNamed"]["Assertions"]
        self.assertEqual(referenced(assertion["Assert"]), {"DatabaseUri", "DatabaseSecretArn"})
        groups = PLAIN["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        self.assertEqual({name for group in groups for name in group["Parameters"]}, set(PLAIN["Parameters"]))

    def test_rules_use_no_other_functions_than_rules_may(self):
        allowed = {"Ref", "Fn::And", "Fn::Contains", "Fn::EachMemberEquals", "Fn::EachMemberIn", "Fn::Equals", "Fn::Not",
                   "Fn::Or", "Fn::RefAll", "Fn::ValueOf", "Fn::ValueOfAll"}
        used = set(re.findall(r'"(Ref|Fn::[A-Za-z]+)"', json.dumps(PLAIN["Rules"])))
        self.assertLessEqual(used, allowed)

    def test_a_stack_says_who_may_make_requests(self):
        given = {"DatabaseUri": "postgresql://db/syncflow"}
        self.assertTrue(PLAIN["Parameters"]["AuthHs256Secret"]["NoEcho"])
        provider = {"AuthIssuer": "https://id.example.com", "AuthAudience": "sync", "AuthHs256Secret": ""}
        off = {"Auth": "off", "AuthHs256Secret": "", "AuthTenantClaim": ""}
        for said in (off, provider | {"AuthJwks": "{}"},
                     provider | {"AuthJwksUrl": "https://id.example.com/keys"}, {}):
            self.assertEqual(refusals(given | said), [], said)
        for missing in ("AuthIssuer", "AuthAudience"):
            [refused] = refusals(given | provider | {"AuthJwks": "{}", missing: ""})
            self.assertIn("need AuthIssuer and AuthAudience", refused)
        [refused] = refusals(given | {"AuthHs256Secret": ""})
        self.assertIn("Auth=off is needed", refused)
        [refused] = refusals(given | off | {"AuthHs256Secret": "s" * 32})
        self.assertIn("excludes", refused)
        [refused] = refusals(given | {"AuthTenantClaim": ""})
        self.assertIn("Tokens need AuthTenant or AuthTenantClaim", refused)
        self.assertEqual(refusals(given | {"AuthTenant": "team", "AuthTenantClaim": ""}), [])
        for both in ({"AuthTenant": "team"}, off | {"AuthTenant": "team"}):
            [refused] = refusals(given | both)
            self.assertIn("Only one of AuthTenant, AuthTenantClaim", refused)
        for _, function in functions().values():
            variables = evaluated(function["Environment"]["Variables"], given)
            self.assertEqual((variables["AUTH"], variables["AUTH_ROLE_CLAIM"]), ("", "role"))

    def test_every_function_has_the_rules(self):
        given = {"DatabaseUri": "postgresql://db/syncflow"}
        text, layer = "[others]\nread = []", "arn:aws:lambda:eu-central-1:123456789012:layer:rules:7"
        [refused] = refusals(given | {"AccessRules": text, "AccessRulesLayerArn": layer})
        self.assertIn("Only one of AccessRules", refused)
        for more, expected in (({}, ("", None, [])), ({"AccessRules": text}, (text, None, [])),
                               ({"AccessRulesLayerArn": layer}, ("", "/opt/rules.toml", [layer]))):
            self.assertEqual(refusals(given | more), [])
            for _, function in functions().values():
                variables = evaluated(function["Environment"]["Variables"], given | more)
                layers = evaluated(function["Layers"], given | more)
                found = (variables["RULES"], variables.get("RULES_FILE"), layers)
                self.assertEqual(found, expected)

    def test_a_network_is_given_as_a_whole_or_not_at_all(self):
        given = {"DatabaseUri": "postgresql://db/syncflow"}
        self.assertEqual(refusals(given), [])
        self.assertEqual(refusals({**given, "SubnetIds": ["subnet-1", "subnet-2"]}), ["SubnetIds need SecurityGroupIds."])
        self.assertEqual(refusals({**given, "SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}), [])

    def test_every_log_ends_and_every_alarm_watches_what_is_there(self):
        for name, logs in of_type("AWS::Logs::LogGroup").items():
            self.assertEqual(logs["Properties"]["RetentionInDays"], {"Ref": "LogRetentionDays"}, name)
        watched = {}
        for name, alarm in of_type("AWS::CloudWatch::Alarm").items():
            properties = alarm["Properties"]
            self.assertEqual(properties["AlarmActions"]["Fn::If"][0], "HasAlarmTopic", name)
            metrics = [entry["MetricStat"]["Metric"] for entry in properties.get("Metrics", []) if "MetricStat" in entry]
            for metric in metrics or [properties]:
                watched.setdefault((metric["Namespace"], metric["MetricName"]), set()).update(
                    referenced(metric["Dimensions"]))
        every_function = {logical_id for logical_id, _ in functions().values()}
        self.assertEqual(watched, {
            ("AWS/Lambda", "Errors"): every_function,
            ("AWS/Lambda", "Throttles"): every_function,
            ("AWS/ApiGateway", "5xx"): {"Api"},
            ("AWS/ApiGateway", "Latency"): {"Api"},
            ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): {"CompactionDeadLetters"},
        })

    def test_the_api_is_throttled_and_lets_pages_of_allowed_origins_in(self):
        [stage] = of_type("AWS::ApiGatewayV2::Stage").values()
        settings = stage["Properties"]["DefaultRouteSettings"]
        self.assertEqual(referenced(settings), {"ThrottleRatePerSecond", "ThrottleBurst"})
        [api] = of_type("AWS::ApiGatewayV2::Api").values()
        cors = api["Properties"]["Body"]["x-amazon-apigateway-cors"]
        self.assertEqual(PLAIN["Parameters"]["AllowedOrigins"]["Default"], "http://localhost:5173")
        self.assertEqual(cors["allowOrigins"], ["http://localhost:5173"], "no website is let in without a word")
        self.assertEqual(SOURCE["Resources"]["Api"]["Properties"]["CorsConfiguration"]["AllowOrigins"],
                         {"Ref": "AllowedOrigins"})
        self.assertEqual(cors["maxAge"], 3600, "a page asks once an hour")
        # `*` does not stand for authorization.
        self.assertIn("authorization", cors["allowHeaders"])
        layers = (ROOT / "src/runtime/layers.rs").read_text()
        [listed] = re.findall(r"const ALLOWED_HEADERS.*?= \[(.*?)\];", layers, re.DOTALL)
        names = {name or constant.lower().replace("_", "-").replace("request-id", "x-request-id")
                 for name, constant in re.findall(r'"([a-z-]+)"|([A-Z_]+),', listed)}
        self.assertEqual(set(cors["allowHeaders"]), names, "the functions let the same headers in")
        for _, properties in functions().values():
            self.assertEqual(properties["Environment"]["Variables"]["ALLOWED_ORIGINS"],
                             {"Fn::Join": [",", {"Ref": "AllowedOrigins"}]})
        self.assertEqual(set(cors["exposeHeaders"]), {"etag", "retry-after", "www-authenticate", "x-request-id"})

    def test_every_build_of_the_functions_has_one_store_and_what_it_needs(self):
        features = set(tomllib.loads((ROOT / "Cargo.toml").read_text())["features"])
        config = tomllib.loads((ROOT / "CargoLambda.toml").read_text())
        shared = config.pop("default")["build"]
        plain = config.pop("build")
        self.assertEqual(shared, {key: value for key, value in plain.items() if key != "features"})
        self.assertTrue(plain["no_default_features"])
        self.assertTrue(all((ROOT / file).exists() for file in plain["config"]))
        builds = {"": plain["features"], **{context: table["build"]["features"] for context, table in config.items()}}
        for context, named in builds.items():
            with self.subTest(context):
                self.assertLessEqual(set(named), features)
                [store] = set(named) & {"sqlite", "postgres", "mongodb"}
                self.assertIn("lambda", named)
                [suffix] = {"-aws", "-iam"} & {f"-{feature.removeprefix('mongodb-')}" for feature in named} or {""}
                self.assertEqual(context or "postgres", store + suffix)
        self.assertEqual(set(builds), {"", "postgres-aws", "mongodb", "mongodb-aws", "mongodb-iam"})

    def test_the_stages_name_only_parameters_that_there_are(self):
        config = tomllib.loads((ROOT / "samconfig.toml").read_text())
        names = {}
        for stage in ("default", "dev", "prod"):
            names[stage] = config[stage]["global"]["parameters"]["stack_name"]
            for override in config[stage]["deploy"]["parameters"]["parameter_overrides"]:
                name, value = override.split("=")
                self.assertIn(name, PLAIN["Parameters"], stage)
                self.assertFalse(PLAIN["Parameters"][name].get("NoEcho"), f"{stage}: {name} is a secret")
                allowed = PLAIN["Parameters"][name].get("AllowedValues")
                self.assertTrue(allowed is None or value in map(str, allowed), f"{stage}: {override}")
        self.assertEqual(names["default"], names["dev"])
        self.assertNotEqual(names["dev"], names["prod"])


if __name__ == "__main__":
    unittest.main()
