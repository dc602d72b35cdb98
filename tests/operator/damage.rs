//! A verification finds every damage that is planted, on every store.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use mongodb::bson::{Document, doc};
use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::{delete, insert, inserts, key, update};
use syncflow_server::core::decide::{Outcome, Snapshot};
use syncflow_server::core::fingerprint::Fingerprint;
use syncflow_server::core::json::Object;
use syncflow_server::core::names::TenantId;
use syncflow_server::core::numbers::Seq;
use syncflow_server::core::operation::Change;
use syncflow_server::core::policy::{ConflictPolicy, Deletes, Policies};
use syncflow_server::service::operator::{Fault, Operator};
use syncflow_server::service::{Host, SyncService};
use syncflow_server::store::memory::MemoryStore;
use syncflow_server::store::mongodb::MongoStore;
use syncflow_server::store::postgres::PostgresStore;
use syncflow_server::store::{Audit, Changes, ChangesRequest, LoadRequest, Result, Store, delegate_store};

use crate::support::mongo::Database;
use crate::support::postgres::{Schema, connect, server_url};
use crate::support::stores::open_sqlite;

/// A damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// The entry of `op-3` is gone.
    Entry,
    /// The newest entry is gone.
    LastEntry,
    /// The document `doc-2` has other data.
    Data,
    /// The document `doc-2` is gone.
    Gone,
    /// The last operation of `doc-2` is another one.
    Operation,
    /// The head counts a document more.
    LiveCounter,
    /// The head is at the entry before the newest one.
    HeadSeq,
    /// The head counts other bytes.
    BytesCounter,
    /// The id of `op-3` is not known.
    Id,
    /// The id of `edit`, which the log has as a resolution, is not known.
    ResolvedId,
    /// The fingerprint at `op-3` is another one.
    Fingerprint,
    /// The fingerprint of the head is another one.
    HeadFingerprint,
    /// The entry of `op-3` was received before all others.
    Order,
    /// The stamps of `doc-1` are not JSON.
    Stamps,
    /// The stamps of `doc-1` are about a revision that does not exist yet.
    LaterStamps,
    /// The text that is kept with the tombstone of `doc-3` has other data than it must.
    Kept,
}

use Damage::{
    BytesCounter, Data, Entry, Fingerprint as OfFingerprint, Gone, HeadFingerprint, HeadSeq, Id, Kept, LastEntry,
    LaterStamps, LiveCounter, Operation, Order, ResolvedId, Stamps,
};

/// Each damage, and a fault that is found.
const DAMAGES: [(Damage, Fault); 16] = [
    (Entry, Fault::MissingEntry),
    (LastEntry, Fault::MissingEntry),
    (Data, Fault::WrongDocument),
    (Gone, Fault::MissingDocument),
    (Operation, Fault::WrongDocument),
    (LiveCounter, Fault::Counter),
    (BytesCounter, Fault::Counter),
    (HeadSeq, Fault::Counter),
    (Id, Fault::UnknownId),
    (ResolvedId, Fault::UnknownId),
    (OfFingerprint, Fault::Fingerprint),
    (HeadFingerprint, Fault::Fingerprint),
    (Order, Fault::Order),
    (Stamps, Fault::Stamps),
    (LaterStamps, Fault::Stamps),
    (Kept, Fault::Stamps),
];

/// The new texts of the damages of stamps.
fn text_of(damage: Damage) -> &'static str {
    match damage {
        LaterStamps => r#"{"rev":77,"stamps":[[["a",1,1,"op"]]]}"#,
        Kept => r#"{"gone":{"data":{"secret":1}}}"#,
        _ => r#"{"rev":2,"secret":"#,
    }
}

/// Plants each damage in a tenant of its own, and verifies.
async fn every_damage_is_found(
    world: World,
    damages: impl IntoIterator<Item = (Damage, Fault)>,
    plant: impl Fn(Damage, String) -> BoxFuture<'static, ()>,
) {
    for (damage, fault) in damages {
        let world = world.as_tenant(&format!("tenant-{damage:?}"));
        world.apply(inserts(1)).await;
        world.host.advance_ms(10);
        world.apply(inserts(4).into_iter().skip(1).map(|draft| draft.data(r#"{"n":1}"#))).await;
        let merging = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
        let policies = Policies::for_all(ConflictPolicy::Merge, Deletes::Lose);
        let merging = World { service: Arc::new(merging.with_conflict_policies(policies)), ..world.clone() };
        merging.push([update("edit", "doc-1").data(r#"{"n":3}"#).clock(&[("b", 1), ("a", 1)]).at(9)]).await;
        merging.push([delete("gone", "doc-3").clock(&[("b", 2), ("a", 1)]).at(9)]).await;
        world.apply([update("op-5", "doc-2").data(r#"{"m":2}"#), delete("op-6", "doc-4")]).await;
        let verified =
            async || Operator::new(Arc::clone(&world.service)).verify(&world.tenant).await.expect("the store works");
        let before = verified().await;
        assert_eq!((before.findings.len(), before.finding_count), (0, 0), "{:?}", before.findings);
        plant(damage, world.tenant.as_str().to_owned()).await;
        let after = verified().await;
        let faults: BTreeSet<Fault> = after.findings.iter().map(|finding| finding.fault).collect();
        assert!(faults.contains(&fault), "{damage:?}: {:?}", after.findings);
        assert_eq!(after.finding_count, after.findings.len() as u64);
        let text = after.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(!text.contains("{\"") && !text.contains("secret"), "the findings have no data: {text}");
        if fault == Fault::Stamps {
            let document = if damage == Kept { "doc-3" } else { "doc-1" };
            assert!(text.contains(&format!("document todos/{document}")), "{text}");
            let edit = update("after", document).data(r#"{"m":5}"#).clock(&[("c", 1), ("a", 1)]).at(20);
            let outcomes = merging.push([edit, insert("neighbour", "doc-9")]).await;
            assert!(outcomes.iter().all(Outcome::is_accepted), "{damage:?}: {outcomes:?}");
            let erased = Operator::new(Arc::clone(&world.service)).erase_document(&world.tenant, &key(document)).await;
            assert!(erased.is_ok(), "{damage:?}: {erased:?}");
            let later = verified().await;
            assert!(later.findings.iter().all(|finding| finding.fault != Fault::Stamps), "{:?}", later.findings);
        }
    }
}

/// The model store as it would be with a damage, which the tenant's name says.
#[derive(Debug)]
struct Damaged(MemoryStore, std::sync::Mutex<Option<Damage>>);

impl Damaged {
    fn damage(&self) -> Option<Damage> {
        *self.1.lock().expect("no test panics while it holds the lock")
    }
}

#[async_trait]
impl Store for Damaged {
    async fn audit(&self, tenant: &TenantId, after: Seq, max_entries: usize) -> Result<Audit> {
        let mut audit = self.0.audit(tenant, after, max_entries).await?;
        let of = |id: &'static str| move |entry: &syncflow_server::store::AuditEntry| entry.entry.id.as_str() == id;
        match self.damage() {
            Some(Entry) => audit.entries.retain(|entry| !of("op-3")(entry)),
            Some(LastEntry) => audit.entries.retain(|entry| !of("op-6")(entry)),
            Some(Id) => audit.entries.iter_mut().for_each(|entry| entry.is_id_known &= !of("op-3")(entry)),
            Some(ResolvedId) => {
                let is_it = of("syncflow-server::resolved::edit");
                audit.entries.iter_mut().for_each(|entry| entry.is_id_known &= !is_it(entry));
            }
            Some(OfFingerprint) => {
                for entry in audit.entries.iter_mut().filter(|entry| of("op-3")(entry)) {
                    entry.fingerprint = Fingerprint::START;
                }
            }
            Some(Order) => {
                for entry in audit.entries.iter_mut().filter(|entry| of("op-3")(entry)) {
                    entry.received_at_ms = 1.into();
                }
            }
            Some(LiveCounter) => audit.counters.documents += 1,
            Some(BytesCounter) => audit.counters.bytes += 1,
            Some(HeadSeq) => audit.head.position.seq = audit.head.position.seq.previous(),
            Some(HeadFingerprint) => audit.head.position.fingerprint = Fingerprint::START,
            _ => {}
        }
        Ok(audit)
    }

    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot> {
        let mut loaded = self.0.load(tenant, request).await?;
        // A document that was written again is whole again.
        let damage = self.damage().filter(|damage| matches!(damage, Stamps | LaterStamps | Kept));
        for (key, stored) in &mut loaded.stamps {
            let is_as_it_was = loaded.documents.get(key).is_some_and(|document| document.rev.get() == 2);
            match damage {
                Some(Kept) if is_as_it_was && key.id.as_str() == "doc-3" => {
                    stored.kept = Some(text_of(Kept).to_owned());
                }
                Some(damage) if damage != Kept && is_as_it_was && key.id.as_str() == "doc-1" => {
                    stored.stamps = Some(text_of(damage).to_owned());
                }
                _ => {}
            }
        }
        Ok(loaded)
    }

    async fn changes(&self, tenant: &TenantId, request: ChangesRequest) -> Result<Changes> {
        let mut changes = self.0.changes(tenant, request).await?;
        if let Changes::Page { page, .. } = &mut changes {
            let damage = self.damage();
            if damage == Some(Gone) {
                page.entries.retain(|entry| entry.key.id.as_str() != "doc-2");
            }
            for entry in page.entries.iter_mut().filter(|entry| entry.key.id.as_str() == "doc-2") {
                match damage {
                    Some(Data) => entry.change = Change::Insert(Object::literal(r#"{"n":1,"m":3}"#)),
                    Some(Operation) => entry.id = "op-2".parse().expect("a name"),
                    _ => {}
                }
            }
        }
        Ok(changes)
    }

    delegate_store!(|this| &this.0; name, commit, note_pulled, changes_by_time, client, remember, claim);
    delegate_store!(|this| &this.0; document, query, stats, clients, count_clients, survey, compact, tenants, heads);
    delegate_store!(|this| &this.0; operation_ids, client_rows, learn, scrub, erase_tenant, watch, announce, check);
    delegate_store!(|this| &this.0; aged_place, expire, count_expired);
}

#[tokio::test]
async fn every_damage_of_the_model_store_is_found() {
    for (damage, fault) in DAMAGES {
        let store = Arc::new(Damaged(MemoryStore::new(), std::sync::Mutex::new(None)));
        let world = World::new(Arc::clone(&store) as Arc<dyn Store>);
        every_damage_is_found(world, [(damage, fault)], |damage, _| {
            *store.1.lock().expect("no test panics while it holds the lock") = Some(damage);
            Box::pin(std::future::ready(()))
        })
        .await;
    }
}

/// A damage as statements of SQL, with names of tables in their form for SQLite.
fn statement(damage: Damage) -> &'static str {
    match damage {
        Entry => "DELETE FROM operations WHERE tenant = $1 AND id = 'op-3'",
        LastEntry => "DELETE FROM operations WHERE tenant = $1 AND id = 'op-6'",
        Data => "UPDATE documents SET data = '{\"n\":1,\"m\":3}' WHERE tenant = $1 AND id = 'doc-2'",
        Gone => "DELETE FROM documents WHERE tenant = $1 AND id = 'doc-2'",
        Operation => "UPDATE documents SET operation_id = 'op-2' WHERE tenant = $1 AND id = 'doc-2'",
        LiveCounter => "UPDATE heads SET documents = documents + 1 WHERE tenant = $1",
        BytesCounter => "UPDATE heads SET bytes = bytes + 1 WHERE tenant = $1",
        HeadSeq => "UPDATE heads SET seq = seq - 1 WHERE tenant = $1",
        Id => "DELETE FROM operation_ids WHERE tenant = $1 AND id = 'op-3'",
        ResolvedId => "DELETE FROM operation_ids WHERE tenant = $1 AND id = 'edit'",
        OfFingerprint => "UPDATE operations SET fingerprint = 7 WHERE tenant = $1 AND id = 'op-3'",
        HeadFingerprint => "UPDATE heads SET fingerprint = 7 WHERE tenant = $1",
        Order => "UPDATE operations SET received_at_ms = 1 WHERE tenant = $1 AND id = 'op-3'",
        Stamps | LaterStamps => "UPDATE documents SET stamps = $2 WHERE tenant = $1 AND id = 'doc-1'",
        Kept => "UPDATE operations SET kept = $2 WHERE tenant = $1 AND id LIKE '%gone'",
    }
}

#[tokio::test]
async fn every_damage_of_sqlite_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("syncflow.db");
    let world = World::new(open_sqlite(&file));
    every_damage_is_found(world, DAMAGES, |damage, tenant| {
        let connection = rusqlite::Connection::open(&file).expect("the file opens");
        // In SQLite, `$2` would be the name of a parameter and not its place.
        let sql = &statement(damage).replace('$', "?");
        let changed = if sql.contains("?2") {
            connection.execute(sql, [&*tenant, text_of(damage)])
        } else {
            connection.execute(sql, [tenant])
        };
        let changed = changed.expect("the statement is right");
        assert_eq!(changed, 1, "{damage:?}");
        Box::pin(std::future::ready(()))
    })
    .await;
}

#[tokio::test]
async fn every_damage_of_postgres_is_found() {
    let schema = Schema::new();
    let world = World::new(Arc::new(PostgresStore::new(&schema.options()).expect("the options are right")));
    let quoted = schema.quoted();
    every_damage_is_found(world, DAMAGES, |damage, tenant| {
        let mut sql = statement(damage).to_owned();
        for table in ["operation_ids", "operations", "documents", "heads"] {
            for verb in ["FROM ", "UPDATE "] {
                sql = sql.replace(&format!("{verb}{table} "), &format!("{verb}{quoted}.syncflow_{table} "));
            }
        }
        if sql.contains("syncflow_documents") {
            sql = sql.replace(" data = ", " body = ").replace(" id = ", " doc_id = ");
        }
        sql = sql.replace("documents = documents", "live_documents = live_documents");
        Box::pin(async move {
            let (client, text) = (connect(&server_url()).await, text_of(damage));
            let changed = if sql.contains("$2") {
                client.execute(&sql, &[&tenant, &text]).await
            } else {
                client.execute(&sql, &[&tenant]).await
            };
            assert_eq!(changed.expect("the statement is right"), 1, "{sql}");
        })
    })
    .await;
}

#[tokio::test]
async fn every_damage_of_mongodb_is_found() {
    let database = Database::new();
    let options = database.options();
    let world = World::new(Arc::new(MongoStore::new(&options).expect("the options are right")));
    let direct = database.connect().await;
    // The index of known ids is one of the log, so that no id can be lost alone. A read that finds entries beyond the
    // head is refused, as if the head moved all the time.
    let damages = DAMAGES.into_iter().filter(|(damage, _)| !matches!(damage, Id | HeadSeq));
    every_damage_is_found(world, damages, |damage, tenant| {
        let operations = direct.collection::<Document>(&options.operations_collection);
        let documents = direct.collection::<Document>(&options.documents_collection);
        let heads = direct.collection::<Document>("syncflow_heads");
        Box::pin(async move {
            let entry = |id: &str| doc! { "tenant": &tenant, "id": id };
            let document = doc! { "tenant": &tenant, "docId": "doc-2" };
            let head = doc! { "tenant": &tenant };
            let set = |field: &str, value: i64| doc! { "$set": { field: value } };
            let changed = match damage {
                Entry => operations.delete_one(entry("op-3")).await.map(|done| done.deleted_count),
                ResolvedId => operations.delete_one(entry("edit")).await.map(|done| done.deleted_count),
                LastEntry => operations.delete_one(entry("op-6")).await.map(|done| done.deleted_count),
                Gone => documents.delete_one(document).await.map(|done| done.deleted_count),
                Data => {
                    let data = doc! { "$set": { "data": r#"{"n":1,"m":3}"# } };
                    documents.update_one(document, data).await.map(|done| done.modified_count)
                }
                Operation => {
                    let other = doc! { "$set": { "operationId": "op-2" } };
                    documents.update_one(document, other).await.map(|done| done.modified_count)
                }
                LiveCounter => {
                    let more = doc! { "$inc": { "liveDocuments": 1_i64 } };
                    heads.update_one(head, more).await.map(|done| done.modified_count)
                }
                BytesCounter => {
                    let more = doc! { "$inc": { "bytes": 1_i64 } };
                    heads.update_one(head, more).await.map(|done| done.modified_count)
                }
                HeadFingerprint => heads.update_one(head, set("fingerprint", 7)).await.map(|done| done.modified_count),
                OfFingerprint => {
                    let other = operations.update_one(entry("op-3"), set("fingerprint", 7)).await;
                    other.map(|done| done.modified_count)
                }
                Order => {
                    let other = operations.update_one(entry("op-3"), set("receivedAtMs", 1)).await;
                    other.map(|done| done.modified_count)
                }
                Stamps | LaterStamps => {
                    let first = doc! { "tenant": &tenant, "docId": "doc-1" };
                    let change = doc! { "$set": { "stamps": text_of(damage) } };
                    documents.update_one(first, change).await.map(|done| done.modified_count)
                }
                Kept => {
                    let change = doc! { "$set": { "kept": text_of(damage) } };
                    let of_tombstone = entry("syncflow-server::resolved::gone");
                    operations.update_one(of_tombstone, change).await.map(|done| done.modified_count)
                }
                Id | HeadSeq => Ok(0),
            };
            assert_eq!(changed.expect("the command is right"), 1, "{damage:?}");
        })
    })
    .await;
}
