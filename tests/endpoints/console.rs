//! The console of the local server: its files, and which servers have it.

use std::collections::BTreeSet;
use std::path::Path;

use reqwest::Method;

use super::client::Answer;
use super::local::Local;

/// The folder with the files of the page.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/local-dev/console/page");

async fn get(local: &Local, path: &str) -> Answer {
    local.api.send_unchecked(Method::GET, path, &[], Vec::new()).await
}

/// The files below a folder, by their paths from there.
fn files(folder: &Path, base: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = format!("{base}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            files(&entry.path(), &path, found);
        } else {
            found.insert(path);
        }
    }
}

#[tokio::test]
async fn every_file_of_the_console_is_served_and_no_other_script_can_run_in_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let local = Local::start(directory.path(), &[("ADAPTER", "memory")]).await;
    let mut paths = BTreeSet::new();
    files(Path::new(FOLDER), "", &mut paths);
    assert!(paths.contains("/views/overview.js"), "{paths:?}");
    for path in &paths {
        let url = if path == "/index.html" { "/_console".to_owned() } else { format!("/_console{path}") };
        let answer = get(&local, &url).await;
        let kind = match path.rsplit_once('.').expect("a name with an end").1 {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!((answer.status, answer.headers["content-type"].to_str().unwrap()), (200, kind), "{url}");
        assert_eq!(answer.bytes, std::fs::read(format!("{FOLDER}{path}")).unwrap(), "{url}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        for part in ["default-src 'none';", "script-src 'self';", "frame-ancestors 'none';"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let text = String::from_utf8(answer.bytes).unwrap();
        for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!text.contains(markup), "{url} has {markup}");
        }
    }
    assert_eq!(get(&local, "/_console/").await.status, 200);
    assert_eq!(get(&local, "/_console/other.js").await.status, 404);
    let posted = local.api.send_unchecked(Method::POST, "/_console", &[], Vec::new()).await;
    assert_eq!((posted.status, posted.json()["error"].is_string()), (405, true));
}

#[tokio::test]
async fn a_server_without_a_console_has_no_route_for_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = ("AUTH_HS256_SECRET", "a secret that is long enough for this");
    for settings in [
        &[("CONSOLE", "off")][..],
        &[("BIND", "0.0.0.0"), ("AUTH", "off")],
        &[("BIND", "0.0.0.0"), token, ("AUTH_TENANT", "team")],
    ] {
        let settings = [settings, &[("ADAPTER", "memory")]].concat();
        let local = Local::start(directory.path(), &settings).await;
        let port = local.authority().rsplit_once(':').expect("a port").1.to_owned();
        let here = super::client::Api::at(format!("http://127.0.0.1:{port}"));
        let answer = here.send_unchecked(Method::GET, "/_console", &[], Vec::new()).await;
        assert_eq!((answer.status, answer.json()["error"].is_string()), (404, true), "{settings:?}");
        assert!(!local.screen.contains("_console"), "{}", local.screen);
    }
}
