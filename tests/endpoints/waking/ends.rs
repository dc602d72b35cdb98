//! The end of everything that waits, when the server stops.

use serde_json::json;
use tokio::time::{sleep, timeout};

use super::events::{Event, Events, open};
use super::{A_WHILE, PATIENCE, WAIT_SECONDS, in_memory};
use crate::endpoints::client::ids;
use crate::endpoints::local::{Local, end_unread};

fn stopping() -> Event {
    Event::End { data: r#"{"reason":"stopping"}"#.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_ends_waits_and_streams_and_takes_no_others() {
    let (service, server) = in_memory().await;
    let mut events = Events::of(&server.api, &[]).await;
    assert_eq!(events.changed().await, "l.0.0");
    let request = json!({"cursor": null, "wait": WAIT_SECONDS});
    let stop = async {
        sleep(A_WHILE).await;
        service.stop_wakes();
    };
    let (page, ()) = tokio::join!(server.api.pull(&request), stop);
    assert_eq!(ids(&page), [""; 0]);
    assert_eq!((events.next().await, events.next().await), (stopping(), Event::Over));
    let refused = open(&server.api, &[]).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
    let page = server.api.pull(&request).await;
    assert_eq!(ids(&page), [""; 0], "it does not wait any more");
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_ends_waits_and_streams() {
    let directory = tempfile::tempdir().unwrap();
    let mut local = Local::start(directory.path(), &[]).await;
    let mut events = Events::of(&local.api, &[]).await;
    assert_eq!(events.changed().await, "l.0.0");
    let body = json!({"cursor": null, "wait": WAIT_SECONDS}).to_string();
    let client = reqwest::Client::new().post(format!("http://{}/changes", local.authority())).body(body);
    let pull = tokio::spawn(client.send());
    sleep(A_WHILE).await;
    local.signal("TERM").await;
    assert_eq!((events.next().await, events.next().await), (stopping(), Event::Over));
    let answer = timeout(PATIENCE, pull).await.expect("in time").unwrap().expect("it is answered");
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().starts_with(r#"{"operations":[],"#));
    assert_eq!(end_unread(&mut local).await, Some(0));
}
