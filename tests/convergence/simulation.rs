//! Plays one story with its devices and a server, and keeps an account of the operations that the server accepted.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use proptest::test_runner::{TestCaseError, TestCaseResult};
use proptest::{prop_assert, prop_assert_eq};
use serde_json::{Map, Value};
use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::key;
use syncflow_server::core::cursor::{Cursor, Position};
use syncflow_server::core::decide::Outcome;
use syncflow_server::core::fingerprint::Fingerprint;
use syncflow_server::core::names::{ClientId, DocumentKey, OperationId};
use syncflow_server::core::numbers::{Rev, Seq, UnixMs};
use syncflow_server::core::operation::{Operation, OperationKind};
use syncflow_server::core::retention::Retention;
use syncflow_server::limits::protocol::{CLIENT_FORGOTTEN_AFTER_MS, INTEGER_MAX};
use syncflow_server::service::{Host, PullFrom, PullRequest, Pulled, PulledPage, SyncService};
use syncflow_server::store::LoadRequest;

use super::device::{Device, Documents, parse};
use super::story::{DOCUMENTS, DeviceKind, Event, FIELDS, Fate};

/// The most rounds or pages for settling, far more than are needed.
const SETTLING_MAX: usize = 1_000;

/// The most pulls of a device that can still be on their way when it continues.
const LATE_PULLS_MAX: usize = 3;

/// The documents that the server must have, according to the accepted operations.
#[derive(Debug, Default)]
struct Account {
    accepted: Vec<OperationId>,
    documents: Documents,
    revisions: BTreeMap<DocumentKey, Rev>,
}

impl Account {
    fn enter(&mut self, operation: &Operation) {
        self.accepted.push(operation.id.clone());
        let revision = self.revisions.entry(operation.key.clone()).or_default();
        *revision = revision.next();
        let data: Map<String, Value> = operation.data().map(parse).unwrap_or_default();
        match operation.kind() {
            OperationKind::Insert => {
                self.documents.insert(operation.key.clone(), data);
            }
            OperationKind::Update => self.documents.entry(operation.key.clone()).or_default().extend(data),
            OperationKind::Delete => {
                self.documents.remove(&operation.key);
            }
        }
    }
}

/// A device and its requests that may still be on their way.
#[derive(Debug)]
struct Online {
    device: Device,
    backup: Option<Device>,
    last_push: Vec<Operation>,
    last_sinces: VecDeque<UnixMs>,
    late_pulls: usize,
}

/// The devices of a story and their server.
#[derive(Debug)]
pub(crate) struct Simulation {
    world: World,
    devices: Vec<Online>,
    account: Account,
    has_retention: bool,
}

impl Simulation {
    /// The same with retention, which a compaction follows.
    ///
    /// No device is silent for so long that it may be told to start again. For the same reason no
    /// device continues at an earlier place than the server knows. So nothing is restored, no request comes late, no
    /// client has two databases, and a device with cursors loses no page. Every device has pulled before it pushes.
    pub(crate) async fn with_retention(
        world: World,
        kinds: &[DeviceKind],
        retention: Retention,
    ) -> Result<Self, TestCaseError> {
        let service = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
        let world = World { service: Arc::new(service.with_retention(retention)), ..world };
        let kinds: Vec<DeviceKind> = kinds.iter().map(|kind| DeviceKind { is_tab: false, ..*kind }).collect();
        let mut simulation = Self { has_retention: true, ..Self::new(world, &kinds) };
        for device in 0..kinds.len() {
            simulation.pull(device, Fate::Answered, 1).await?;
        }
        Ok(simulation)
    }

    pub(crate) fn new(world: World, kinds: &[DeviceKind]) -> Self {
        let mut devices: Vec<Online> = Vec::new();
        for (number, kind) in kinds.iter().enumerate() {
            let device = Device::new(number, kind.dialect, kind.wall_clock);
            let device = match devices.last() {
                Some(before) if kind.is_tab => device.into_tab_of(before.device.pulls_as().clone()),
                _ => device,
            };
            let (last_push, last_sinces) = (Vec::new(), VecDeque::new());
            devices.push(Online { device, backup: None, last_push, last_sinces, late_pulls: 0 });
        }
        Self { world, devices, account: Account::default(), has_retention: false }
    }

    /// Plays an event.
    pub(crate) async fn event(&mut self, event: &Event) -> TestCaseResult {
        let count = self.devices.len();
        match event {
            Event::PutBack { .. } | Event::LatePush { .. } | Event::LatePull { .. } | Event::Silence
                if self.has_retention => {}
            Event::Edit { device, document, kind, field } => {
                let now_ms = self.world.host.now_ms();
                let device = &mut self.devices[device % count].device;
                device.edit(&key(DOCUMENTS[*document]), *kind, FIELDS[*field], now_ms);
            }
            Event::Push { device, fate } => {
                self.push(device % count, *fate).await?;
            }
            Event::Pull { device, fate, max_operations } => {
                if self.push(device % count, *fate).await? {
                    self.pull(device % count, *fate, *max_operations).await?;
                }
            }
            Event::Reload { device } => self.devices[device % count].device.reload(),
            Event::Restart { device } => {
                let online = &mut self.devices[device % count];
                online.device.restart(device % count);
                online.backup = None;
                online.last_push.clear();
                online.last_sinces.clear();
                if self.has_retention {
                    self.pull(device % count, Fate::Answered, 1).await?;
                }
            }
            Event::BackUp { device } => {
                // Before its first cursor a device has no place. If a backup from that time is restored, the client
                // must give new ids to operations that were pushed meanwhile, as docs/writing-a-client.md says. This is
                // not played here.
                let online = &mut self.devices[device % count];
                if online.device.may_push() {
                    online.backup = Some(online.device.clone());
                }
            }
            Event::PutBack { device } => {
                let online = &mut self.devices[device % count];
                if let Some(backup) = &online.backup {
                    online.device.put_back(backup);
                    // A push from before the restore may still be under way. An original client that does not know its
                    // own operation yet, writes over it and then pulls it takes the older one for news.
                    if online.device.skips_what_it_knows() {
                        online.last_push.clear();
                    }
                }
            }
            Event::LatePush { device } => {
                let operations = self.devices[device % count].last_push.clone();
                self.request_push(operations).await?;
            }
            Event::LatePull { device, back, max_operations } => {
                self.late_pull(device % count, *back, *max_operations).await?;
            }
            Event::Compact { older_than_ms } => {
                self.world.compact(*older_than_ms).await;
            }
            Event::Tick { by_ms } => self.world.host.advance_ms(*by_ms),
            Event::Silence => {
                self.world.host.advance_ms(CLIENT_FORGOTTEN_AFTER_MS + 1);
                self.world.compact(INTEGER_MAX).await;
            }
        }
        Ok(())
    }

    /// A device pushes its operations, if it may push. Returns whether it can continue with a pull.
    async fn push(&mut self, device: usize, fate: Fate) -> Result<bool, TestCaseError> {
        let operations = self.devices[device].device.pending().to_vec();
        if operations.is_empty() || !self.devices[device].device.may_push() {
            return Ok(true);
        }
        self.devices[device].last_push.clone_from(&operations);
        if fate == Fate::RequestLost {
            return Ok(false);
        }
        let outcomes = self.request_push(operations).await?;
        if fate == Fate::AnswerLost {
            return Ok(false);
        }
        self.devices[device].device.pushed(&outcomes);
        Ok(true)
    }

    /// The server handles a push. The account records each accepted operation once.
    async fn request_push(&mut self, operations: Vec<Operation>) -> Result<Vec<Outcome>, TestCaseError> {
        let pushed = self.world.service.push(&self.world.tenant, operations.clone()).await;
        let outcomes = pushed.expect("the push is answered").outcomes().expect("the push is not refused");
        for (operation, outcome) in operations.iter().zip(&outcomes) {
            let was_accepted = self.account.accepted.contains(&operation.id);
            prop_assert_eq!(*outcome == Outcome::Duplicate, was_accepted, "{:?}: {:?}", operation, outcome);
            if *outcome == Outcome::Applied {
                self.account.enter(operation);
            }
        }
        Ok(outcomes)
    }

    /// A device pulls a page. Returns whether there was news in it, and whether there is more.
    async fn pull(&mut self, device: usize, fate: Fate, max_operations: usize) -> Result<(bool, bool), TestCaseError> {
        let online = &mut self.devices[device];
        let (from, client) = (online.device.pull_from(), online.device.pulls_as().clone());
        let is_lost = fate == Fate::RequestLost
            || self.has_retention && fate == Fate::AnswerLost && !online.device.skips_what_it_knows();
        if let PullFrom::Since(since) = from {
            online.last_sinces.push_front(since);
        }
        online.late_pulls = 0;
        if is_lost {
            return Ok((false, true));
        }
        let page = self.request_pull(from, client, max_operations).await?;
        if fate == Fate::AnswerLost {
            return Ok((false, true));
        }
        Ok((self.devices[device].device.pulled(&page), page.has_more))
    }

    async fn request_pull(
        &self,
        from: PullFrom,
        client: ClientId,
        max_operations: usize,
    ) -> Result<PulledPage, TestCaseError> {
        let request = PullRequest::new(from).with_client(client).with_max_operations(max_operations);
        match self.world.service.pull(&self.world.tenant, request).await.expect("the pull is answered") {
            Pulled::Page(page) => Ok(page),
            other => Err(TestCaseError::fail(format!("no page but {other:?}"))),
        }
    }

    async fn late_pull(&mut self, device: usize, back: usize, max_operations: usize) -> TestCaseResult {
        let online = &mut self.devices[device];
        let since = online.last_sinces.get(back).copied();
        if let Some(since) = since.filter(|_| online.late_pulls < LATE_PULLS_MAX) {
            online.late_pulls += 1;
            let client = online.device.pulls_as().clone();
            self.request_pull(PullFrom::Since(since), client, max_operations).await?;
        }
        Ok(())
    }

    /// All devices sync until nothing is left to do. Then all must have the same documents.
    pub(crate) async fn settle(mut self) -> TestCaseResult {
        let mut is_quiet = false;
        for _ in 0..SETTLING_MAX {
            is_quiet = true;
            for device in 0..self.devices.len() {
                is_quiet &= self.devices[device].device.pending().is_empty();
                self.push(device, Fate::Answered).await?;
                is_quiet &= !self.pull_everything(device).await?;
            }
            if is_quiet {
                break;
            }
        }
        prop_assert!(is_quiet, "the devices never settle");
        self.check_server().await?;
        for online in &self.devices {
            prop_assert_eq!(online.device.documents(), self.account.documents.clone(), "{:#?}", online.device);
        }
        Ok(())
    }

    /// Pulls until there is no more. Returns whether there was news.
    async fn pull_everything(&mut self, device: usize) -> Result<bool, TestCaseError> {
        let mut was_news = false;
        for _ in 0..SETTLING_MAX {
            let (is_news, has_more) = self.pull(device, Fate::Answered, 3).await?;
            was_news |= is_news;
            if !has_more {
                return Ok(was_news);
            }
        }
        Err(TestCaseError::fail(format!("device {device} pulls for ever")))
    }

    /// Checks that the server has the effect of each accepted operation exactly once.
    async fn check_server(&self) -> TestCaseResult {
        let documents = self.world.query(&[]).await.into_iter();
        let documents: Documents = documents.map(|document| (document.key, parse(&document.data))).collect();
        prop_assert_eq!(documents, self.account.documents.clone());

        let request = LoadRequest {
            ids: self.account.accepted.clone(),
            keys: DOCUMENTS.map(key).to_vec(),
            ..LoadRequest::default()
        };
        let snapshot = self.world.store.load(&self.world.tenant, request).await.expect("the store loads");
        let accepted: HashSet<OperationId> = self.account.accepted.iter().cloned().collect();
        if self.has_retention {
            prop_assert!(snapshot.known.is_subset(&accepted));
        } else {
            let revisions = snapshot.documents.into_iter().map(|(key, document)| (key, document.rev)).collect();
            prop_assert_eq!(&self.account.revisions, &revisions, "every operation counts one revision");
            prop_assert_eq!(snapshot.known, accepted);
        }
        let head = self.world.head().await.position();
        prop_assert_eq!(head.seq.get(), self.account.accepted.len() as u64, "the log is dense");

        // After a compaction, the log still has the last of the accepted operations, in their order.
        let left = usize::try_from(self.world.stats().await.operations).expect("it fits");
        let (compacted, rest) = self.account.accepted.split_at(self.account.accepted.len() - left);
        let fingerprint = compacted.iter().fold(Fingerprint::START, Fingerprint::extended);
        let horizon = Position { seq: Seq::START.plus(compacted.len() as u64), fingerprint };
        let page = self.world.changes(Some(Cursor::Log(horizon)), usize::from(u16::MAX)).await;
        let log: Vec<OperationId> = page.entries.into_iter().map(|entry| entry.id).collect();
        prop_assert_eq!(log, rest);
        Ok(())
    }
}
