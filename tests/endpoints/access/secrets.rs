//! No output of the program repeats a secret, however wrong its settings are.

use std::path::Path;
use std::time::Duration;

use syncflow_server::config::Config;
use syncflow_server::store::mongodb::{MongoOptions, MongoStore};
use syncflow_server::store::postgres::{PostgresOptions, PostgresStore};
use tokio::io::AsyncReadExt as _;

use crate::endpoints::local::command;
use crate::support::random;

const SECRET: &str = "hunter2";

/// Valid connection strings. No server listens at their addresses.
const GOOD: [(&str, &str); 8] = [
    ("POSTGRES_CONNECTION_STRING", "postgresql://user:hunter2@127.0.0.1:9/name?sslmode=disable"),
    ("POSTGRES_CONNECTION_STRING", "host=127.0.0.1 port=9 user=user password=hunter2 dbname=name"),
    ("POSTGRES_CONNECTION_STRING", "host=127.0.0.1 port=9 user=user password='a hunter2' connect_timeout=2"),
    ("MONGO_URI", "mongodb://user:hunter2@127.0.0.1:9/?replicaSet=rs0&serverSelectionTimeoutMS=50"),
    ("MONGO_URI", "mongodb://user:a%40hunter2@127.0.0.1:9,127.0.0.1:10/name?tls=true&serverSelectionTimeoutMS=50"),
    ("MONGO_URI", "mongodb://127.0.0.1:9/?authMechanism=PLAIN&tlsCAFile=/hunter2&serverSelectionTimeoutMS=50"),
    ("AUTH_HS256_SECRET", "hunter2 is a secret of more than 32 bytes"),
    ("AUTH_HS256_SECRET", "hunter2"),
];

/// Texts that break a connection string.
const PIECES: [&str; 28] = [
    "@", "/", "?", "#", "%", ":", "=", "'", "\"", "\\", " ", "&", "$", "[", "]", ",", "\t", "é", "%4", "%zz", "://",
    "@@", "?x@", "port=x", "tls=", "=x ", "a=b@", "\u{0}",
];

/// Makes one to three random changes to a text, none of them within the secret.
fn broken(rng: &mut fastrand::Rng, good: &str) -> String {
    let (before, after) = good.split_once(SECRET).expect("a secret");
    let (mut before, mut after) = (before.to_owned(), after.to_owned());
    for _ in 0..rng.usize(1..=3) {
        let part = if rng.bool() { &mut before } else { &mut after };
        let places: Vec<usize> = part.char_indices().map(|(at, _)| at).chain([part.len()]).collect();
        let at = places[rng.usize(..places.len())];
        match rng.u8(..5) {
            0 if at < part.len() => drop(part.remove(at)),
            1 => part.truncate(at),
            2 => drop(part.drain(..at)),
            _ => part.insert_str(at, PIECES[rng.usize(..PIECES.len())]),
        }
    }
    format!("{before}{SECRET}{after}")
}

fn keeps_quiet(said: &str, about: &str) {
    assert!(!said.contains(SECRET), "{about:?} makes it say {said}");
}

#[test]
fn no_error_of_a_setting_repeats_a_secret() {
    let mut rng = random::seeded();
    for case in 0..2_000 {
        let (variable, good) = GOOD[case % GOOD.len()];
        let text = broken(&mut rng, good);
        for name in [variable, "ADAPTER", "SQLITE_PATH", "POSTGRES_SECRET_ARN", "MONGO_PARAMETER", "MONGO_URI_FILE"] {
            let tenant = |asked: &str| (asked == "AUTH_TENANT" && name == "AUTH_HS256_SECRET").then(|| "t".to_owned());
            match Config::read(|asked| if asked == name { Some(text.clone()) } else { tenant(asked) }) {
                Ok(config) if name == variable => keeps_quiet(&format!("{config:?}"), &text),
                Err(error) if name == variable || text.contains("://") => {
                    keeps_quiet(&format!("{error} {error:?}"), &text);
                }
                Ok(_) | Err(_) => {}
            }
        }
        let postgres = PostgresOptions::new(&text);
        keeps_quiet(&format!("{postgres:?}"), &text);
        let store = crate::support::runtime().block_on(async { PostgresStore::new(&postgres) });
        match store {
            Ok(store) => keeps_quiet(&format!("{store:?}"), &text),
            Err(error) => keeps_quiet(&format!("{error} {error:?}"), &text),
        }
        let mongo = MongoOptions::new(&text);
        keeps_quiet(&format!("{mongo:?}"), &text);
        if let Err(error) = MongoStore::new(&mongo) {
            keeps_quiet(&format!("{error} {error:?}"), &text);
        }
    }
}

/// The whole output of the program when it checks its settings. It is stopped if it takes long.
async fn said(directory: &Path, settings: &[(&str, &str)]) -> String {
    let mut all = vec![("LOG_LEVEL", "trace"), ("PORT", "0")];
    all.extend(settings);
    if settings.iter().any(|(name, _)| name.starts_with("AUTH_HS256")) {
        all.push(("AUTH_TENANT", "t"));
    }
    let mut child = command(directory, &all);
    let mut child = child.arg("--check").spawn().expect("it runs");
    let (mut stdout, mut stderr) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
    let (mut said, mut logged) = (Vec::new(), Vec::new());
    let both = futures_util::future::join(stdout.read_to_end(&mut said), stderr.read_to_end(&mut logged));
    // Some settings name a server that does not answer. The output until then is checked as well.
    let _ = tokio::time::timeout(Duration::from_secs(60), both).await;
    said.extend(logged);
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn the_program_says_no_secret_whatever_is_wrong_with_it() {
    let mut rng = random::seeded();
    let directory = tempfile::tempdir().unwrap();
    for case in 0..48 {
        let (variable, good) = GOOD[case % GOOD.len()];
        let text = if case < GOOD.len() { good.to_owned() } else { broken(&mut rng, good) };
        if text.contains('\0') {
            continue;
        }
        keeps_quiet(&said(directory.path(), &[(variable, &text)]).await, &text);
        let path = directory.path().join("secret");
        std::fs::write(&path, broken(&mut rng, &format!("{text}\n"))).unwrap();
        let file = format!("{variable}_FILE");
        keeps_quiet(&said(directory.path(), &[(&file, path.to_str().unwrap())]).await, &text);
    }
}

#[tokio::test]
async fn a_broken_dot_env_is_never_shown() {
    let mut rng = random::seeded();
    let directory = tempfile::tempdir().unwrap();
    for case in 0..60 {
        let (variable, good) = GOOD[case % GOOD.len()];
        let line = match case % 3 {
            0 => format!("POOL_SIZE=3\n{variable}='{good}'\nLOG_FORMAT=json\n"),
            1 => format!("POOL_SIZE=3\n{variable}={good}\n"),
            _ => format!("# a comment\nexport {variable}=\"{good}\"\nSQLITE_PATH=./x.db\n"),
        };
        let text = broken(&mut rng, &line);
        std::fs::write(directory.path().join(".env"), &text).unwrap();
        keeps_quiet(&said(directory.path(), &[]).await, &text);
    }
    // Lines that were broken in two, so that the secret looks like a name or like the value of another variable.
    for text in [
        "POSTGRES_CONNECTION_STRINGhunter2=x\n",
        "POOL_SIZE=3hunter2\n",
        "POOL_SIZE=3hunter2rue&x:y\n",
        "LOG_FORMAT=hunter2\n",
    ] {
        std::fs::write(directory.path().join(".env"), text).unwrap();
        keeps_quiet(&said(directory.path(), &[]).await, text);
    }
    // An error of this program once repeated each of these texts.
    for text in [
        "hunter2\n",
        "MONGO_URI='mongodb://u:hunter2@h\n",
        "A B=hunter2\n",
        "hunter2 = 'x\n",
        "\"hunter2\n",
        "PORT=30 hunter2\n",
    ] {
        std::fs::write(directory.path().join(".env"), text).unwrap();
        let said = said(directory.path(), &[]).await;
        keeps_quiet(&said, text);
        assert!(said.starts_with(".env: line 1"), "{said}");
    }
}
