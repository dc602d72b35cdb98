//! Tests of reading the settings.

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
    let look_up =
        |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned());
    Config::read(look_up).map_err(|error| error.to_string())
}

#[test]
fn with_nothing_set_it_is_sqlite_on_port_3000_of_this_machine() {
    let config = read(&[]).unwrap();
    assert_eq!(config.listen, Listen { bind: "127.0.0.1".parse().unwrap(), port: 3_000 });
    assert_eq!(config.store.adapter, Adapter::Sqlite { path: "./syncflow.db".into() });
    assert_eq!(config.store.pool_size, 10);
    assert_eq!(config.http.allowed_origins, AllowedOrigins::Loopback);
    assert_eq!(config.http.allowed_hosts, AllowedHosts::Listed(Vec::new()));
    assert_eq!(config.http.request_timeout, Duration::from_secs(30));
    assert_eq!(config.log, LogConfig { format: LogFormat::Pretty, filter: "info".to_owned() });
}

#[test]
fn a_lambda_has_defaults_of_its_own_and_the_same_variables() {
    let read = |variables: &[(&str, &str)]| {
        let find = |name: &str| variables.iter().find(|(variable, _)| *variable == name);
        Config::read_in_a_lambda(|name| find(name).map(|(_, value)| (*value).to_owned())).unwrap()
    };
    let config = read(&[]);
    assert_eq!((config.store.pool_size, config.log.format), (1, LogFormat::Json));
    assert_eq!(config.http.body_max_bytes, LAMBDA_BODY_MAX_BYTES);
    assert_eq!(config.http.allowed_origins, AllowedOrigins::Loopback);
    assert_eq!(config.http.allowed_hosts, AllowedHosts::Any);
    let config = read(&[("POOL_SIZE", "3"), ("LOG_FORMAT", "pretty"), ("COMPACT_OLDER_THAN_DAYS", "0.5")]);
    assert_eq!((config.store.pool_size, config.log.format), (3, LogFormat::Pretty));
    assert!((config.compaction.older_than_days - 0.5).abs() < f64::EPSILON);
}

#[test]
fn a_server_that_strangers_reach_with_tokens_limits_how_often_they_ask() {
    let rates = |variables: &[(&str, &str)]| read(variables).map(|config| config.http.rates);
    let none = RateConfig::default();
    let secret = ("AUTH_HS256_SECRET", "a secret that is long enough for this");
    let tenant = ("AUTH_TENANT", "team");
    assert_eq!(rates(&[]), Ok(none));
    assert_eq!(rates(&[secret, tenant]), Ok(none));
    assert_eq!(rates(&[("BIND", "0.0.0.0"), ("AUTH", "off")]), Ok(none));
    let set = RateConfig { per_principal: Some(50), per_address: Some(200) };
    assert_eq!(rates(&[("BIND", "0.0.0.0"), secret, tenant]), Ok(set));
    let own = RateConfig { per_principal: None, per_address: Some(5) };
    let chosen = [("RATE_PER_PRINCIPAL", "off"), ("RATE_PER_ADDRESS", "5"), ("BIND", "0.0.0.0"), secret, tenant];
    assert_eq!(rates(&chosen), Ok(own));
    for wrong in ["0", "-1", "1000001", "much"] {
        let problem = rates(&[("RATE_PER_ADDRESS", wrong)]).unwrap_err();
        assert!(problem.starts_with("RATE_PER_ADDRESS: must be off or an integer from 1"), "{problem}");
    }
}

#[test]
fn memory_connections_and_proxies_have_their_rules() {
    for (variable, wrong) in [
        ("MEMORY_MAX_BYTES", "1000"),
        ("HTTP2", "yes"),
        ("CONNECTIONS_PER_ADDRESS", "0"),
        ("TRUSTED_PROXIES", "localhost"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
    ] {
        let problem = read(&[(variable, wrong)]).unwrap_err();
        assert!(problem.starts_with(&format!("{variable}: must be")), "{problem}");
    }
    let config = read(&[("TRUSTED_PROXIES", "none")]).unwrap();
    assert!(!config.connections.trusted_proxies.contains("127.0.0.1".parse().unwrap()));
    assert_eq!(read(&[]).unwrap().connections, ConnectionConfig::default());
}

#[test]
fn metrics_have_a_namespace_that_cloudwatch_takes_or_are_off() {
    let namespace = |name: &str| read(&[("METRICS_NAMESPACE", name)]).map(|config| config.metrics.namespace);
    assert_eq!(namespace(""), Ok(Some("syncflow-server".to_owned())));
    assert_eq!(namespace("Sync/prod"), Ok(Some("Sync/prod".to_owned())));
    assert_eq!(namespace("off"), Ok(None));
    let longest = "x".repeat(METRICS_NAMESPACE_MAX_BYTES);
    assert_eq!(namespace(&longest), Ok(Some(longest.clone())));
    for wrong in ["AWS/Lambda", ":x", "a b", "é", &format!("{longest}x")] {
        assert!(namespace(wrong).unwrap_err().starts_with("METRICS_NAMESPACE: must be off or"), "{wrong}");
    }
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let empty = ["BIND", "PORT", "ADAPTER", "SQLITE_PATH", "MONGO_URI", "POOL_SIZE", "LOG_LEVEL"];
    assert_eq!(read(&empty.map(|variable| (variable, " "))), read(&[]));
    let empty = ["ALLOWED_ORIGINS", "ALLOWED_HOSTS"];
    assert_eq!(read(&empty.map(|variable| (variable, " "))), read(&[]));
}

#[test]
fn a_uri_alone_selects_its_adapter_and_two_need_a_word() {
    let adapter = |variables: &[(&str, &str)]| read(variables).map(|config| config.store.adapter);
    let postgres = ("POSTGRES_CONNECTION_STRING", "postgresql://u:p@h/d");
    let mongo = ("MONGO_URI", "mongodb://h");
    let on_postgres = Adapter::Postgres {
        connection: Connection::Given(Secret::from(postgres.1.to_owned())),
        has_iam_auth: false,
        schema: None,
        ca_file: None,
        has_pooler: false,
    };
    let on_mongo = Adapter::Mongodb {
        connection: Connection::Given(Secret::from(mongo.1.to_owned())),
        database: "syncflow".to_owned(),
        operations_collection: "operations".to_owned(),
        documents_collection: "documents".to_owned(),
    };
    assert_eq!(adapter(&[postgres]), Ok(on_postgres.clone()));
    assert_eq!(adapter(&[mongo]), Ok(on_mongo));
    assert_eq!(adapter(&[mongo, postgres, ("ADAPTER", "postgres")]), Ok(on_postgres));
    assert!(adapter(&[mongo, postgres]).unwrap_err().starts_with("ADAPTER: "));
    assert_eq!(adapter(&[postgres, ("ADAPTER", "memory")]), Ok(Adapter::Memory));
}

#[test]
fn what_is_stored_in_aws_selects_its_adapter_too_and_only_one_place_may_be_named() {
    let adapter = |variables: &[(&str, &str)]| read(variables).map(|config| config.store.adapter);
    let place = |variable, keeper| SecretPlace { variable, keeper, id: "prod/db".to_owned() };
    let given = ("POSTGRES_CONNECTION_STRING", "postgresql://h/d");
    let secret = ("POSTGRES_SECRET_ARN", "prod/db");
    match adapter(&[given, secret]).unwrap() {
        Adapter::Postgres { connection: Connection::Stored { place: found, given }, .. } => {
            assert_eq!(found, place("POSTGRES_SECRET_ARN", SecretKeeper::SecretsManager));
            assert_eq!(given.unwrap().reveal(), "postgresql://h/d");
        }
        other => panic!("{other:?}"),
    }
    match adapter(&[("MONGO_PARAMETER", "prod/db")]).unwrap() {
        Adapter::Mongodb { connection: Connection::Stored { place: found, given: None }, .. } => {
            assert_eq!(found, place("MONGO_PARAMETER", SecretKeeper::ParameterStore));
        }
        other => panic!("{other:?}"),
    }
    let line = adapter(&[secret, ("POSTGRES_PARAMETER", "p")]).unwrap_err();
    assert!(line.starts_with("POSTGRES_PARAMETER: "), "{line}");
    let line = adapter(&[given, secret, ("POSTGRES_IAM_AUTH", "true")]).unwrap_err();
    assert!(line.starts_with("POSTGRES_IAM_AUTH: "), "{line}");
    let line = adapter(&[secret, ("MONGO_SECRET_ARN", "m")]).unwrap_err();
    assert!(line.starts_with("ADAPTER: "), "{line}");
}

#[test]
fn a_wrong_setting_is_one_line_that_names_its_variable() {
    for (variable, value) in [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("BIND", "no such host"),
        ("ADAPTER", "mysql"),
        ("POOL_SIZE", "0"),
        ("POOL_SIZE", "1001"),
        ("REQUEST_TIMEOUT_SECONDS", "0"),
        ("REQUEST_TIMEOUT_SECONDS", "31"),
        ("REQUEST_TIMEOUT_SECONDS", "1.5"),
        ("COMPACT_OLDER_THAN_DAYS", "-1"),
        ("COMPACT_OLDER_THAN_DAYS", "inf"),
        ("COMPACT_OLDER_THAN_DAYS", "a month"),
        ("ALLOWED_ORIGINS", "example.com"),
        ("ALLOWED_ORIGINS", "https://a.example/,"),
        ("ALLOWED_ORIGINS", "https://a.example/path"),
        ("ALLOWED_ORIGINS", "https://user@a.example"),
        ("ALLOWED_ORIGINS", "*,https://a.example"),
        ("ALLOWED_ORIGINS", "null"),
        ("ALLOWED_HOSTS", "https://sync.example.com"),
        ("ALLOWED_HOSTS", "sync.example.com,"),
        ("ALLOWED_HOSTS", "*"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "infos"),
        ("LOG_LEVEL", "warn,syncflow_server=loud\n"),
    ] {
        let line = read(&[(variable, value)]).unwrap_err();
        assert!(line.starts_with(&format!("{variable}: must be ")), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
    let postgres = ("POSTGRES_CONNECTION_STRING", "postgresql://h/d");
    let line = read(&[postgres, ("POSTGRES_POOLER", "yes")]).unwrap_err();
    assert!(line.starts_with("POSTGRES_POOLER: must be "), "{line}");
    let missing = read(&[("ADAPTER", "postgres")]).unwrap_err();
    assert!(missing.starts_with("POSTGRES_CONNECTION_STRING: must be set"), "{missing}");
    let missing = read(&[("ADAPTER", "mongodb")]).unwrap_err();
    assert!(missing.starts_with("MONGO_URI: must be set"), "{missing}");
}

#[test]
fn origins_are_taken_as_browsers_send_them() {
    let config = read(&[("ALLOWED_ORIGINS", "https://a.example, http://localhost:5173")]).unwrap();
    let expected = ["https://a.example", "http://localhost:5173"].map(http::HeaderValue::from_static);
    assert_eq!(config.http.allowed_origins, AllowedOrigins::List(expected.to_vec()));
    let config = read(&[("ALLOWED_ORIGINS", "*")]).unwrap();
    assert_eq!(config.http.allowed_origins, AllowedOrigins::Any);
}

#[test]
fn secrets_never_show() {
    for (variable, value) in
        [("POSTGRES_CONNECTION_STRING", "postgresql://u:hunter2@h/d"), ("MONGO_URI", "mongodb://u:hunter2@h")]
    {
        let config = read(&[(variable, value)]).unwrap();
        assert!(!format!("{config:?} {config:#?}").contains("hunter2"));
    }
}

#[test]
fn a_name_to_listen_on_stands_for_its_address() {
    assert!(read(&[("BIND", "localhost")]).unwrap().listen.bind.is_loopback());
    assert_eq!(read(&[("BIND", "::1")]).unwrap().listen.bind, "::1".parse::<IpAddr>().unwrap());
}

#[test]
fn a_secret_may_stand_in_a_file_whose_variable_is_named_when_it_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("uri");
    std::fs::write(&path, "mongodb://u:hunter2@h\n").unwrap();
    let file = ("MONGO_URI_FILE", path.to_str().unwrap());
    match read(&[file]).unwrap().store.adapter {
        Adapter::Mongodb { connection: Connection::Given(secret), .. } => {
            assert_eq!((secret.reveal(), secret.variable()), ("mongodb://u:hunter2@h", Some("MONGO_URI_FILE")));
        }
        other => panic!("{other:?}"),
    }
    let line = read(&[file, ("MONGO_URI", "mongodb://u:hunter2@h")]).unwrap_err();
    assert_eq!(line, "MONGO_URI_FILE: cannot be set beside MONGO_URI");
    let line = read(&[("POSTGRES_CONNECTION_STRING_FILE", "/no/such/file")]).unwrap_err();
    assert!(line.starts_with("POSTGRES_CONNECTION_STRING_FILE: the file /no/such/file "), "{line}");
}

#[test]
fn a_secret_in_the_wrong_variable_is_not_repeated() {
    for variable in ["ADAPTER", "PORT", "BIND", "SQLITE_PATH", "ALLOWED_ORIGINS", "LOG_LEVEL", "POSTGRES_SECRET_ARN"] {
        let line = read(&[(variable, "postgresql://u:hunter2@h/d")]).unwrap_err();
        assert!(line.starts_with(&format!("{variable}: ")) && !line.contains("hunter2"), "{line}");
    }
}

#[test]
fn sqlite_in_memory_is_the_adapter_memory() {
    assert!(read(&[("SQLITE_PATH", ":memory:")]).unwrap_err().contains("ADAPTER=memory"));
}
