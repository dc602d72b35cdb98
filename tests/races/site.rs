//! The site of a race: one database, one or two services over it, and clients on OS threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::key;
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::decide::Outcome;
use syncflow_server::core::document::Document;
use syncflow_server::core::names::{ClientId, DocumentKey, TenantId};
use syncflow_server::core::numbers::Rev;
use syncflow_server::core::operation::Operation;
use syncflow_server::core::retention::Retention;
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::{
    PullFrom, PullRequest, Pulled, PulledPage, Removed, ServiceError, SyncService, Write, Written,
};
use syncflow_server::store::{LoadRequest, Store};
use tokio::runtime::{Builder, Runtime};

use crate::support::stores::TestStore;

/// How often a client repeats a request after an error that permits it.
const ATTEMPTS_MAX: usize = 1_000;

/// A database with its servers.
#[derive(Debug)]
pub(crate) struct Site {
    services: Vec<SyncService>,
    /// The same servers with retention that keeps only what a client may need.
    retaining: Vec<SyncService>,
    runtime: Runtime,
    tenant: TenantId,
    store: Arc<dyn Store>,
    has_failed: AtomicBool,
    // It is declared after the services, so that it is dropped last.
    _home: TestStore,
}

impl Site {
    /// One server over a new store.
    pub(crate) fn of_one_server(open: impl AsyncFn() -> TestStore) -> Self {
        let home = crate::support::block_on(open());
        let store = home.store();
        Self::over(home, vec![store])
    }

    /// Two servers, each of which has opened the same new database.
    pub(crate) fn of_two_servers(open: impl AsyncFn() -> TestStore) -> Self {
        let home = crate::support::block_on(open());
        let stores = vec![home.store(), home.open_again()];
        Self::over(home, stores)
    }

    fn over(home: TestStore, stores: Vec<Arc<dyn Store>>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts");
        let service = |store| SyncService::new(store, Arc::new(TokioHost));
        let kept =
            Retention { tombstones_ms: Some(0), ids_ms: Some(0), fingerprints_ms: Some(0), ..Retention::default() };
        let retaining = stores.iter().map(|store| service(Arc::clone(store)).with_retention(kept)).collect();
        Self {
            services: stores.into_iter().map(service).collect(),
            retaining,
            runtime,
            tenant: TenantId::literal("default"),
            store: home.store(),
            has_failed: false.into(),
            _home: home,
        }
    }

    /// Runs `clients` clients at the same time, each on its own thread, and collects their results. If one fails, all
    /// others fail at their next request, because some would wait for it for ever.
    pub(crate) fn at_once<T: Send>(&self, clients: usize, run: impl Fn(Client<'_>) -> T + Sync) -> Vec<T> {
        self.at_once_on(&self.services, clients, run)
    }

    /// The same on servers with retention.
    pub(crate) fn at_once_with_retention<T: Send>(
        &self,
        clients: usize,
        run: impl Fn(Client<'_>) -> T + Sync,
    ) -> Vec<T> {
        self.at_once_on(&self.retaining, clients, run)
    }

    fn at_once_on<T: Send>(
        &self,
        services: &[SyncService],
        clients: usize,
        run: impl Fn(Client<'_>) -> T + Sync,
    ) -> Vec<T> {
        let barrier = Barrier::new(clients);
        thread::scope(|scope| {
            let start = |number| {
                let (barrier, run) = (&barrier, &run);
                let client = Client { number, service: &services[number % services.len()], site: self };
                scope.spawn(move || {
                    let _alarm = Alarm(&self.has_failed);
                    barrier.wait();
                    run(client)
                })
            };
            let threads: Vec<_> = (0..clients).map(start).collect();
            threads.into_iter().map(|thread| thread.join().expect("the client has not failed")).collect()
        })
    }

    /// The database in the form that the checks of the conformance suite use, after the race.
    pub(crate) fn world(&self) -> World {
        World { tenant: self.tenant.clone(), ..World::new(Arc::clone(&self.store)) }
    }

    /// Runs a future to its end.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// Tells all clients when the thread that holds it panics.
struct Alarm<'s>(&'s AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// A client of one of the services.
#[derive(Debug)]
pub(crate) struct Client<'s> {
    /// Its index among the clients that run at once.
    pub(crate) number: usize,
    service: &'s SyncService,
    site: &'s Site,
}

impl Client<'_> {
    fn until_it_works<T>(&self, mut request: impl AsyncFnMut() -> Result<T, ServiceError>) -> T {
        self.site.run(async {
            for _ in 0..ATTEMPTS_MAX {
                assert!(!self.site.has_failed.load(Ordering::SeqCst), "another client has failed");
                match request().await {
                    Ok(answer) => return answer,
                    Err(ServiceError::Contended { .. }) => {}
                    Err(ServiceError::Store(error)) if error.can_retry() => {}
                    Err(error) => panic!("{error}"),
                }
            }
            panic!("the server never answers")
        })
    }

    /// Pushes and repeats the push until it is answered.
    pub(crate) fn push(&self, operations: &[Operation]) -> Vec<Outcome> {
        let pushed = self.until_it_works(async || self.service.push(&self.site.tenant, operations.to_vec()).await);
        pushed.outcomes().expect("the push is not refused")
    }

    /// Puts keys into a document as the server that it is a client of, which makes the document if there is none.
    pub(crate) fn put_keys(&self, document: &str, keys: &Value) {
        self.until_it_works(async || {
            let (service, tenant) = (self.service, &self.site.tenant);
            match service.patch(tenant, &key(document), keys).await? {
                Written::Done(_) => Ok(()),
                Written::Missing => {
                    let made = Write::put(key(document), &json!({})).expect("an object").if_revision(Rev::NONE);
                    // Another one may be faster.
                    let _ = service.write(tenant, &made).await?;
                    Err(ServiceError::Contended { attempts: 1 })
                }
                other => panic!("no write but {other:?}"),
            }
        });
    }

    /// Pushes and hangs up after `patience`. Returns whether the answer came before.
    pub(crate) fn push_for(&self, patience: Duration, operations: &[Operation]) -> bool {
        self.site.run(async {
            let push = self.service.push(&self.site.tenant, operations.to_vec());
            matches!(tokio::time::timeout(patience, push).await, Ok(Ok(_)))
        })
    }

    /// Pulls a page.
    pub(crate) fn pull(&self, from: &PullFrom, client_id: &str, max_operations: usize) -> PulledPage {
        let pulled = self.until_it_works(async || {
            let request = PullRequest::new(from.clone()).with_client(ClientId::literal(client_id));
            self.service.pull(&self.site.tenant, request.with_max_operations(max_operations)).await
        });
        match pulled {
            Pulled::Page(page) => page,
            other => panic!("no page but {other:?}"),
        }
    }

    /// Pulls a page after a cursor.
    pub(crate) fn pull_behind(&self, cursor: Option<Cursor>, max_operations: usize) -> PulledPage {
        self.pull(&PullFrom::Cursor(cursor), &format!("puller-{}", self.number), max_operations)
    }

    /// Removes all entries from the log that may be removed.
    pub(crate) fn compact(&self) {
        self.remove_old();
    }

    /// The same. Returns what was removed.
    pub(crate) fn remove_old(&self) -> Removed {
        self.until_it_works(async || self.service.remove_old(&self.site.tenant, 0, 0).await)
    }

    /// The current state of a document.
    pub(crate) fn document(&self, key: &DocumentKey) -> Option<Document> {
        let request = || LoadRequest { ids: vec![], keys: vec![key.clone()], ..LoadRequest::default() };
        self.until_it_works(async || {
            let snapshot = self.site.store.load(&self.site.tenant, request()).await?;
            Ok(snapshot.documents.get(key).cloned())
        })
    }
}
