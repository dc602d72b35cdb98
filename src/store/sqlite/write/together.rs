//! Commits of several tenants that share a transaction.
//!
//! A commit waits for the disk, which takes longer than its statements. The pushes of one tenant share a batch already.
//! Here the batches of different tenants that wait for the writer at the same time share a flush.

use rusqlite::ffi::{Error as Code, SQLITE_ABORT, SQLITE_ERROR};
use rusqlite::{Connection, Error};

use super::{Durability, begin, write_batch};
use crate::core::decide::Batch;
use crate::core::json::Object;
use crate::core::names::TenantId;
use crate::store::Commit;

/// The bytes of a row without its data and its clock.
const ROW_BYTES: usize = 256;

/// Writes batches in one transaction. Each has its own outcome, and one that is contended or fails is undone alone.
///
/// If the transaction itself fails, none of them is written, and all have this failure.
pub(in crate::store::sqlite) fn commit_all(
    connection: &mut Connection,
    batches: &[(TenantId, Batch)],
) -> Vec<rusqlite::Result<Commit>> {
    match batches {
        [] => Vec::new(),
        [(tenant, batch)] => vec![commit(connection, tenant, batch)],
        _ => match commit_together(connection, batches) {
            Ok(outcomes) => outcomes,
            Err(failure) => batches.iter().map(|_| Err(same(&failure))).collect(),
        },
    }
}

/// About how many bytes a batch writes.
pub(in crate::store::sqlite) fn batch_bytes(batch: &Batch) -> usize {
    let bytes = |data: Option<&Object>| data.map_or(0, |data| data.as_str().len());
    let documents = batch.documents.iter().map(|write| {
        let stamps = write.stamps.as_ref().map_or(0, String::len);
        bytes(write.document.data.as_ref()) + write.document.clock.json().as_str().len() + stamps + ROW_BYTES
    });
    let operations = batch.operations.iter().map(|operation| bytes(operation.data()) + ROW_BYTES);
    let kept = batch.resolutions.iter().map(|resolution| bytes(resolution.kept.as_ref()) + ROW_BYTES);
    documents.sum::<usize>() + operations.sum::<usize>() + kept.sum::<usize>()
}

/// A transaction that is dropped is rolled back.
fn commit(connection: &mut Connection, tenant: &TenantId, batch: &Batch) -> rusqlite::Result<Commit> {
    let transaction = begin(connection, Durability::Machine)?;
    let outcome = write_batch(&transaction, tenant, batch)?;
    if outcome == Commit::Done {
        transaction.commit()?;
    }
    Ok(outcome)
}

fn commit_together(
    connection: &mut Connection,
    batches: &[(TenantId, Batch)],
) -> rusqlite::Result<Vec<rusqlite::Result<Commit>>> {
    let transaction = begin(connection, Durability::Machine)?;
    let mut outcomes = Vec::with_capacity(batches.len());
    for (tenant, batch) in batches {
        transaction.prepare_cached("SAVEPOINT batch")?.execute([])?;
        let outcome = write_batch(&transaction, tenant, batch);
        if transaction.is_autocommit() {
            // SQLite rolls back a whole transaction if for example the disk is full.
            let failure = Error::SqliteFailure(Code::new(SQLITE_ABORT), None);
            return Err(outcome.err().unwrap_or(failure));
        }
        if !matches!(outcome, Ok(Commit::Done)) {
            transaction.prepare_cached("ROLLBACK TO batch")?.execute([])?;
        }
        transaction.prepare_cached("RELEASE batch")?.execute([])?;
        outcomes.push(outcome);
    }
    transaction.commit()?;
    Ok(outcomes)
}

/// The same failure again.
fn same(failure: &Error) -> Error {
    match failure {
        Error::SqliteFailure(code, text) => Error::SqliteFailure(*code, text.clone()),
        other => {
            let code = Code::new(SQLITE_ERROR);
            Error::SqliteFailure(code, Some(other.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock::VectorClock;
    use crate::core::decide::{Snapshot, decide};
    use crate::core::names::{ClientId, DocumentKey, OperationId};
    use crate::core::numbers::UnixMs;
    use crate::core::operation::{Change, Operation};

    /// A batch with the insert of one document.
    fn batch(id: &str) -> Batch {
        let client_id = ClientId::literal("a");
        let operations = [Operation {
            id: OperationId::literal(id),
            change: Change::Insert(Object::literal("{}")),
            key: DocumentKey::parse("todos", id).unwrap(),
            timestamp: UnixMs::new(1),
            clock: VectorClock::from_iter([(client_id.clone(), 1)]),
            client_id,
        }];
        decide(&[operations[..].into()], &Snapshot::default(), UnixMs::new(1)).1
    }

    fn of(tenant: &str, batch: Batch) -> (TenantId, Batch) {
        (TenantId::literal(tenant), batch)
    }

    fn connection() -> (tempfile::TempDir, Connection) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        crate::store::sqlite::file::prepare(&path).unwrap();
        let connection = crate::store::sqlite::schema::open_for_writing(&path).unwrap();
        (directory, connection)
    }

    /// The tenants in which something is written, in each of the tables.
    fn tenants(connection: &Connection) -> [Vec<String>; 4] {
        ["heads", "operations", "operation_ids", "documents"].map(|table| {
            let mut query = connection.prepare(&format!("SELECT tenant FROM {table} ORDER BY tenant")).unwrap();
            query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        })
    }

    fn everywhere(tenants: &[&str]) -> [Vec<String>; 4] {
        std::array::from_fn(|_| tenants.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_batch_that_is_contended_or_fails_is_undone_alone() {
        let (_directory, mut connection) = connection();
        assert_eq!(commit_all(&mut connection, &[of("b", batch("known"))]), [Ok(Commit::Done)]);
        let damage = "CREATE TRIGGER refuse BEFORE INSERT ON heads WHEN new.tenant = 'c'
                      BEGIN SELECT raise(ABORT, 'on purpose'); END";
        connection.execute_batch(damage).unwrap();
        let batches = [
            of("a", batch("1")),
            of("b", batch("known")),
            of("c", batch("2")),
            of("a", batch("3")),
            of("d", batch("4")),
        ];
        let outcomes = commit_all(&mut connection, &batches);
        let [first, contended, failed, again, last] = &outcomes[..] else { panic!("{outcomes:?}") };
        for done in [first, again, last] {
            assert_eq!(*done, Ok(Commit::Done));
        }
        assert_eq!(*contended, Ok(Commit::Contended));
        assert!(failed.as_ref().unwrap_err().to_string().contains("on purpose"));
        let [heads, others @ ..] = tenants(&connection);
        assert_eq!(heads, ["a", "b", "d"]);
        assert!(others.iter().all(|table| *table == ["a", "a", "b", "d"]), "{others:?}");
        let seq: i64 = connection.query_row("SELECT seq FROM heads WHERE tenant = 'a'", [], |row| row.get(0)).unwrap();
        assert_eq!(seq, 2, "the second batch of a tenant stands behind the first");
    }

    #[test]
    fn if_the_transaction_ends_early_nothing_is_written_and_all_know() {
        let (_directory, mut connection) = connection();
        let damage = "CREATE TRIGGER refuse BEFORE INSERT ON heads WHEN new.tenant = 'b'
                      BEGIN SELECT raise(ROLLBACK, 'on purpose'); END";
        connection.execute_batch(damage).unwrap();
        let batches = [of("a", batch("1")), of("b", batch("2")), of("c", batch("3"))];
        for outcome in commit_all(&mut connection, &batches) {
            assert!(outcome.unwrap_err().to_string().contains("on purpose"));
        }
        assert_eq!(tenants(&connection), everywhere(&[]));
        connection.execute_batch("DROP TRIGGER refuse").unwrap();
        assert!(commit_all(&mut connection, &batches).iter().all(|outcome| *outcome == Ok(Commit::Done)));
        assert_eq!(tenants(&connection), everywhere(&["a", "b", "c"]));
    }

    #[test]
    fn a_batch_is_as_large_as_its_rows() {
        let small = batch_bytes(&batch("1"));
        assert!(small > 2 * ROW_BYTES && small < 3 * ROW_BYTES, "{small}");
    }
}
