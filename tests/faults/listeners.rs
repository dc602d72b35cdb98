//! Clients that only listen: each keeps a stream of events open, and pulls when it is woken or after a pause.
//!
//! Their streams go through the same faults as all requests. That of one client goes through proxies that hold back
//! everything, so that it is never woken. A listener is not told to hurry when the run is over: it must
//! come to the end of the log by itself.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Response;
use syncflow_server::core::cursor::Position;
use syncflow_server::service::PullFrom;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::clients::Asker;
use super::fleet::Fleet;
use super::proxy::{Mood, Proxy};
use super::record::{Record, count};
use crate::convergence::device::Device;
use crate::convergence::story::{Dialect, WallClock};
use crate::history::Documents;

/// The number of listeners; the last one has a proxy that holds everything back.
const LISTENERS: usize = 3;

/// The pause after which a listener pulls although nothing has woken it.
const POLL: Duration = Duration::from_millis(1_500);

/// After so many pulls without an event, a listener opens another stream: its server may be frozen.
const QUIET_POLLS: u32 = 3;

/// How long a listener may take to get to the end when all faults are over: far longer than a few pauses.
const PATIENCE: Duration = Duration::from_secs(120);

/// The numbers of the devices, which no writer has.
const FIRST_NUMBER: usize = 90;

/// The listeners of a run.
pub(super) struct Listeners {
    tasks: Vec<JoinHandle<Device>>,
    /// The end of the log, once nothing is written any more.
    end: watch::Sender<Option<Position>>,
    _buffering: Vec<Proxy>,
}

impl Listeners {
    pub(super) async fn start(fleet: &Fleet, record: &Arc<Record>, random: &mut fastrand::Rng) -> Self {
        let mut buffering = Vec::new();
        for port in fleet.ports() {
            let proxy = Proxy::before(port, random.fork()).await;
            proxy.set_mood(Mood::Buffering);
            buffering.push(proxy);
        }
        let (end, ended) = watch::channel(None);
        let tasks = (0..LISTENERS).map(|number| {
            let device = Device::new(FIRST_NUMBER + number, Dialect::Cursor, WallClock::True);
            let asker = Asker::new(device.client().as_str(), fleet, record, random);
            let is_last = number + 1 == LISTENERS;
            let streams = if is_last { buffering.iter().map(Proxy::port).collect() } else { asker.ports().to_vec() };
            let listener = Listener { asker, device, streams, ended: ended.clone(), is_at_the_end: false };
            tokio::spawn(listener.live())
        });
        Self { tasks: tasks.collect(), end, _buffering: buffering }
    }

    /// Waits until all listeners have come to the end of the log by themselves, and returns what they hold.
    pub(super) async fn finish(self, end: Position) -> Vec<(String, Documents)> {
        self.end.send(Some(end)).expect("the listeners live");
        let devices = timeout(PATIENCE, join_all(self.tasks)).await.expect("no listener waits for ever");
        let devices = devices.into_iter().map(|device| device.expect("a listener ends well"));
        devices.map(|device| (device.client().to_string(), device.documents())).collect()
    }
}

struct Listener {
    asker: Asker,
    device: Device,
    /// The ports for streams.
    streams: Vec<u16>,
    ended: watch::Receiver<Option<Position>>,
    is_at_the_end: bool,
}

impl Listener {
    async fn live(mut self) -> Device {
        while !self.is_at_the_end {
            let Some(mut stream) = self.open().await else {
                self.poll().await;
                sleep(POLL).await;
                continue;
            };
            // An operation from before the stream began wakes nobody.
            self.pull().await;
            let mut quiet_polls = 0;
            while !self.is_at_the_end && quiet_polls < QUIET_POLLS {
                match timeout(POLL, stream.chunk()).await {
                    Ok(Ok(Some(chunk))) => {
                        if String::from_utf8_lossy(&chunk).contains("event: changed") {
                            quiet_polls = 0;
                            count(&self.asker.record().counts.woken);
                            self.pull().await;
                        }
                    }
                    Ok(Ok(None) | Err(_)) => break,
                    Err(_) => {
                        quiet_polls += 1;
                        self.poll().await;
                    }
                }
            }
        }
        self.device
    }

    /// Opens a stream to any server. `None` if that does not work now.
    async fn open(&mut self) -> Option<Response> {
        let port = self.streams[self.asker.below(self.streams.len())];
        let client = reqwest::Client::builder().connect_timeout(POLL).build().expect("a client");
        let asked = client.get(format!("http://127.0.0.1:{port}/changes/stream")).send();
        timeout(POLL, asked).await.ok()?.ok().filter(|answer| answer.status() == 200)
    }

    /// Pulls although nothing has woken it.
    async fn poll(&mut self) {
        if self.pull().await {
            count(&self.asker.record().counts.polled_news);
        }
    }

    /// Pulls until there is no more, or no answer. Returns whether there was something new.
    async fn pull(&mut self) -> bool {
        let mut is_news = false;
        loop {
            let Some(page) = self.asker.page(self.device.pull_from(), 100).await else { return is_news };
            is_news |= self.device.pulled(&page);
            if !page.has_more {
                break;
            }
        }
        if let PullFrom::Cursor(Some(cursor)) = self.device.pull_from() {
            self.is_at_the_end = *self.ended.borrow() == Some(cursor.position());
        }
        is_news
    }
}
