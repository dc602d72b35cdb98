//! A store under test, and its answers to the steps of a history.

use std::sync::Arc;

use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::{delete, insert, key_in, update};
use syncflow_server::conformance::world::{operations, query_of};
use syncflow_server::core::access::{Principal, Role};
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::decide::Batch;
use syncflow_server::core::decide::base::Bases;
use syncflow_server::core::decide::quota::Usage;
use syncflow_server::core::document::LiveDocument;
use syncflow_server::core::feed::Collections;
use syncflow_server::core::filter::{Condition, Filter, Sort};
use syncflow_server::core::names::{self, Collection, OperationId};
use syncflow_server::core::numbers::{Rev, Seq, UnixMs};
use syncflow_server::core::operation::{LogEntry, OperationKind};
use syncflow_server::core::policy::Policies;
use syncflow_server::core::retention::{Expiry, Retention};
use syncflow_server::limits::protocol::{INTEGER_MAX, PAGE_MAX_OPERATIONS};
use syncflow_server::service::{Host, PullFrom, Pulled, PushRequest, Pushed, Removed, SyncService};
use syncflow_server::store::{
    Changes, ChangesRequest, Commit, CompactStep, Compaction, ExpireStep, Expired, Query, QueryPage, SortedEnd, Stats,
    SurveyRequest,
};

use super::history::{CLIENTS, COLLECTIONS, ClockChoice, CursorChoice, DOCUMENTS, Draft, Kept, SinceChoice, Step};

/// The answer to a step.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Pushed(Result<Pushed, String>),
    Committed(Commit),
    Pulled(Pulled),
    Document(Option<LiveDocument>),
    Found(QueryPage),
    Selected(Vec<QueryPage>),
    Stats(Stats, Usage),
    Compacted(Compaction),
    Removed(Removed),
    Expired(Option<(Expiry, Expired, Expired)>),
    /// The whole content of the store after the last step.
    Everything(Vec<LogEntry>, Vec<OperationId>, Vec<QueryPage>, Stats, Usage, Cursor),
    Nothing,
}

/// A store while a history is played on it.
#[derive(Debug)]
pub(crate) struct Subject {
    world: World,
    cursors: Vec<Cursor>,
    sinces: Vec<UnixMs>,
    decided: Option<Batch>,
    last_found_seq: Option<Seq>,
    operations_made: u64,
}

impl Subject {
    pub(crate) fn new(world: World) -> Self {
        Self { world, cursors: vec![], sinces: vec![], decided: None, last_found_seq: None, operations_made: 0 }
    }

    /// Takes one step and returns its result.
    pub(crate) async fn step(&mut self, step: &Step) -> Answer {
        match step {
            Step::Push(drafts) => self.push(drafts).await,
            Step::Decide(drafts) => self.decide(drafts).await,
            Step::Commit => match self.decided.take() {
                Some(batch) => Answer::Committed(self.world.commit(batch).await),
                None => Answer::Nothing,
            },
            Step::PullCursor { client, cursor, max_operations } => {
                let from = PullFrom::Cursor(self.cursor(cursor));
                self.pull(from, *client, *max_operations).await
            }
            Step::PullDocuments { cursor, collections, max_operations } => {
                let name = |collection: &usize| Collection::literal(COLLECTIONS[*collection]);
                let collections = collections
                    .as_ref()
                    .map(|collections| Collections::new(collections.iter().map(name)).expect("some names"));
                let from = PullFrom::Documents { after: self.cursor(cursor), collections };
                self.pull(from, None, *max_operations).await
            }
            Step::PullSince { client, since, max_operations } => {
                let from = PullFrom::Since(self.since(since));
                self.pull(from, *client, *max_operations).await
            }
            Step::Document { collection, document } => {
                let key = key_in(COLLECTIONS[*collection], DOCUMENTS[*document]);
                let found = self.world.service.document(&self.world.tenant, &key).await;
                Answer::Document(found.expect("the document is read"))
            }
            Step::Query { collection, conditions, max_documents, is_next_page } => {
                let before_seq = self.last_found_seq.filter(|_| *is_next_page);
                self.query(COLLECTIONS[*collection], conditions, *max_documents, before_seq).await
            }
            Step::Select { collection, filter, sort, max_documents } => {
                let query = Query {
                    filter: Filter::of(filter.clone()),
                    max_documents: *max_documents,
                    with_clocks: true,
                    ..query_of(COLLECTIONS[*collection], &[])
                };
                Answer::Selected(self.select(query, *sort).await)
            }
            Step::Stats => Answer::Stats(self.world.stats().await, self.world.usage().await),
            Step::Compact { older_than_ms } => {
                let World { service, tenant, .. } = &self.world;
                Answer::Compacted(service.compact(tenant, *older_than_ms, INTEGER_MAX).await.expect("it compacts"))
            }
            Step::CompactPartly { older_than_ms, max_entries } => self.compact_step(*older_than_ms, *max_entries).await,
            Step::Retain { kept, clients_ms } => self.retain(*kept, *clients_ms).await,
            Step::ExpirePartly { kept, max_rows } => self.expire_partly(*kept, *max_rows).await,
            Step::Policies { policy, deletes } => {
                let (store, host) = (Arc::clone(&self.world.store), Arc::clone(&self.world.host) as Arc<dyn Host>);
                let policies = Policies::for_all(*policy, *deletes);
                self.world.service = Arc::new(SyncService::new(store, host).with_conflict_policies(policies));
                Answer::Nothing
            }
            Step::Forward(by_ms) => {
                self.world.host.advance_ms(*by_ms);
                Answer::Nothing
            }
            Step::Back(by_ms) => {
                let now_ms = Host::now_ms(&*self.world.host);
                self.world.host.set_ms(now_ms.minus_ms(*by_ms));
                Answer::Nothing
            }
        }
    }

    /// Reads the whole content of the store.
    pub(crate) async fn everything(&mut self) -> Answer {
        let mut pages = Vec::new();
        for collection in COLLECTIONS {
            let query = query_of(collection, &[]);
            pages.push(self.world.service.query(&self.world.tenant, query).await.expect("the query is answered"));
        }
        let World { store, tenant, .. } = &self.world;
        let request = ChangesRequest::operations(Some(Cursor::BEGINNING), PAGE_MAX_OPERATIONS);
        let log = store.changes(tenant, ChangesRequest { with_resolutions: true, ..request }).await;
        let Ok(Changes::Page { page: log, .. }) = log else { panic!("no page but {log:?}") };
        let ids = store.operation_ids(tenant, None, 1_000).await.expect("the ids are read");
        let head = self.world.head().await;
        Answer::Everything(log.entries, ids, pages, self.world.stats().await, self.world.usage().await, head)
    }

    async fn push(&mut self, drafts: &[Draft]) -> Answer {
        let operations = operations(self.complete(drafts));
        let revision = |draft: &Draft| match draft.clock {
            ClockChoice::Revision(revision) => Some(Rev::new(revision)),
            ClockChoice::Small(_) | ClockChoice::Newest => None,
        };
        let places = self.cursors.last().map(Cursor::position).into_iter().collect();
        let bases = Bases { revisions: drafts.iter().map(revision).collect(), places };
        let World { service, tenant, .. } = &self.world;
        let everybody = Principal::new(tenant.clone(), names::Subject::literal("anybody"), Role::Admin).for_everybody();
        let pushed = service.push_as(&everybody, PushRequest::new(operations).with_bases(bases)).await;
        Answer::Pushed(pushed.map_err(|error| error.to_string()))
    }

    async fn decide(&mut self, drafts: &[Draft]) -> Answer {
        let drafts = self.complete(drafts);
        self.decided = Some(self.world.decision(drafts).await).filter(|batch| !batch.is_empty());
        Answer::Nothing
    }

    fn complete(&mut self, drafts: &[Draft]) -> Vec<syncflow_server::conformance::draft::Draft> {
        drafts.iter().map(|draft| self.complete_one(draft)).collect()
    }

    fn complete_one(&mut self, draft: &Draft) -> syncflow_server::conformance::draft::Draft {
        self.operations_made += 1;
        let counters = match draft.clock {
            ClockChoice::Small(counters) => counters,
            ClockChoice::Newest | ClockChoice::Revision(_) => [100 + self.operations_made; 3],
        };
        let clock: Vec<(&str, u64)> = CLIENTS.into_iter().zip(counters).filter(|(_, counter)| *counter > 0).collect();
        let (id, document) = (format!("op-{}", draft.id), DOCUMENTS[draft.document]);
        let made = match draft.kind {
            OperationKind::Insert => insert(&id, document).data(draft.data),
            OperationKind::Update => update(&id, document).data(draft.data),
            OperationKind::Delete => delete(&id, document),
        };
        made.clock(&clock)
            .client(CLIENTS[draft.client])
            .in_collection(COLLECTIONS[draft.collection])
            .at(draft.timestamp)
    }

    async fn pull(&mut self, from: PullFrom, client: Option<usize>, max_operations: usize) -> Answer {
        let pulled = self.world.pull(from, client.map(|client| CLIENTS[client]), max_operations).await;
        if let Pulled::Page(page) = &pulled {
            self.cursors.extend(page.cursor);
            self.sinces.extend(page.entries.iter().map(|entry| entry.timestamp).max());
        }
        Answer::Pulled(pulled)
    }

    fn cursor(&self, choice: &CursorChoice) -> Option<Cursor> {
        match choice {
            CursorChoice::Nothing => None,
            CursorChoice::Seen(_) if self.cursors.is_empty() => None,
            CursorChoice::Seen(index) => Some(*index.get(&self.cursors)),
            CursorChoice::Invented(text) => Some(Cursor::parse(text).expect("it is well formed")),
        }
    }

    fn since(&self, choice: &SinceChoice) -> UnixMs {
        match choice {
            SinceChoice::Number(since) => UnixMs::new(*since),
            SinceChoice::Seen(_) if self.sinces.is_empty() => UnixMs::EPOCH,
            SinceChoice::Seen(index) => *index.get(&self.sinces),
        }
    }

    async fn query(
        &mut self,
        collection: &str,
        conditions: &[(&str, &str)],
        max_documents: usize,
        before_seq: Option<Seq>,
    ) -> Answer {
        let filter = Filter::new(conditions.iter().map(|(path, value)| Condition::new(path, value)).collect());
        let query = Query { filter, max_documents, before_seq, ..query_of(collection, &[]) };
        let page = self.world.service.query(&self.world.tenant, query).await.expect("the query is answered");
        self.last_found_seq = page.documents.last().map(|document| document.seq);
        Answer::Found(page)
    }

    /// All pages of a query.
    async fn select(&self, query: Query, sort: Option<(&str, bool)>) -> Vec<QueryPage> {
        let (mut pages, mut before_seq, mut after) = (Vec::new(), None, None);
        loop {
            let sort = sort.map(|(path, is_descending)| Sort { path: path.to_owned(), is_descending, after });
            let query = Query { before_seq, sort, ..query.clone() };
            let page = self.world.service.query(&self.world.tenant, query).await.expect("the query is answered");
            before_seq = page.more_before;
            after = match &page.sorted {
                SortedEnd::After(place) => Some(place.clone()),
                SortedEnd::Nothing | SortedEnd::TooMuch => None,
            };
            pages.push(page);
            if before_seq.is_none() && after.is_none() {
                return pages;
            }
        }
    }

    async fn retain(&self, kept: Kept, clients_ms: u64) -> Answer {
        let World { store, host, tenant, .. } = &self.world;
        let service = SyncService::new(Arc::clone(store), Arc::clone(host) as Arc<dyn Host>);
        let Kept { tombstones_ms, remains_ms } = kept;
        let retention = Retention { tombstones_ms, ids_ms: remains_ms, fingerprints_ms: remains_ms, clients_ms };
        let removed = service.with_retention(retention).remove_old(tenant, 0, INTEGER_MAX).await;
        Answer::Removed(removed.expect("it compacts"))
    }

    async fn expire_partly(&self, kept: Kept, max_rows: usize) -> Answer {
        let World { store, host, tenant, .. } = &self.world;
        let nobody = SurveyRequest { active_ms: UnixMs::EPOCH..=UnixMs::EPOCH, max_clients: 1 };
        let horizon = store.survey(tenant, nobody).await.expect("it is surveyed").horizon;
        let mut places = [None; 2];
        for (place, kept_ms) in places.iter_mut().zip([kept.tombstones_ms, kept.remains_ms]) {
            if let Some(kept_ms) = kept_ms {
                let cut_ms = Host::now_ms(&**host).minus_ms(kept_ms);
                *place = store.aged_place(tenant, cut_ms, horizon).await.expect("the place is found");
            }
        }
        let [tombstones, remains] = places;
        let Some(expiry) = Expiry::up_to(tombstones, remains) else { return Answer::Expired(None) };
        let counted = store.count_expired(tenant, expiry).await.expect("they are counted");
        let expired = store.expire(tenant, ExpireStep { expiry, max_rows }).await.expect("it removes");
        Answer::Expired(Some((expiry, counted, expired)))
    }

    async fn compact_step(&self, older_than_ms: u64, max_entries: usize) -> Answer {
        let now_ms = Host::now_ms(&*self.world.host);
        // A store may choose with which clients of the future a step begins, so a step takes all of them or none.
        let takes_all_clients = max_entries >= CLIENTS.len();
        let step = CompactStep {
            now_ms,
            future_after_ms: if takes_all_clients { now_ms } else { UnixMs::new(INTEGER_MAX) },
            received_until_ms: now_ms.minus_ms(older_than_ms),
            forget_clients_before_ms: UnixMs::EPOCH,
            max_entries,
        };
        Answer::Compacted(self.world.store.compact(&self.world.tenant, step).await.expect("it compacts"))
    }
}
