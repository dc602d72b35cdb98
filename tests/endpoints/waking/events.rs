//! A reader of events, as a browser is one.

use reqwest::header::HeaderMap;
use reqwest::{Client, Response};
use tokio::time::timeout;

use super::PATIENCE;
use crate::endpoints::client::Api;

/// A stream that is open.
pub(in crate::endpoints) struct Events {
    pub(in crate::endpoints) headers: HeaderMap,
    response: Response,
    text: String,
}

/// An event, or what stands in its place.
#[derive(Debug, PartialEq)]
pub(in crate::endpoints) enum Event {
    Changed {
        id: String,
    },
    End {
        data: String,
    },
    /// The end of the answer.
    Over,
}

/// Opens a stream. The answer may be another one.
pub(in crate::endpoints) async fn open(api: &Api, headers: &[(&str, &str)]) -> Response {
    let mut request = Client::new().get(format!("http://{}/changes/stream", api.authority()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    timeout(PATIENCE, request.send()).await.expect("in time").expect("the server answers")
}

impl Events {
    /// Opens a stream, which begins with the time until the next connection.
    pub(in crate::endpoints) async fn of(api: &Api, headers: &[(&str, &str)]) -> Self {
        let response = open(api, headers).await;
        assert_eq!(response.status(), 200);
        let mut events = Self { headers: response.headers().clone(), response, text: String::new() };
        let first = events.block().await.expect("it begins");
        let retry_ms: u64 = first.strip_prefix("retry: ").expect("the first line").parse().expect("a number");
        assert!((2_000..=6_000).contains(&retry_ms), "{retry_ms}");
        events
    }

    /// The next event; comments are left out.
    pub(in crate::endpoints) async fn next(&mut self) -> Event {
        loop {
            let Some(block) = self.block().await else { return Event::Over };
            let lines: Vec<(&str, &str)> = block.lines().filter_map(|line| line.split_once(": ")).collect();
            match lines[..] {
                [("event", "changed"), ("id", id), ("data", "{}")] => return Event::Changed { id: id.to_owned() },
                [("event", "end"), ("data", data)] => return Event::End { data: data.to_owned() },
                [] if block == ":" => {}
                _ => panic!("{block:?} is not an event"),
            }
        }
    }

    /// The place of the next event, which must be about a change.
    pub(in crate::endpoints) async fn changed(&mut self) -> String {
        match self.next().await {
            Event::Changed { id } => id,
            other => panic!("{other:?} is not about a change"),
        }
    }

    /// The text up to the next empty line. `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("in time").expect("it is readable")?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("events are texts"));
        }
    }
}
