use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{join, join_all};
use rusqlite::Connection;

use super::*;
use crate::core::clock::VectorClock;
use crate::core::cursor::{Head, Position};
use crate::core::decide::decide;
use crate::core::decide::quota::Usage;
use crate::core::json::Object;
use crate::core::names::OperationId;
use crate::core::numbers::Seq;
use crate::core::operation::{Change, Operation};
use crate::core::page::Scan;
use crate::limits::store::sqlite::{LOOKUP_MAX_BYTES, LOOKUP_MAX_ROWS};

fn file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    (directory, path)
}

/// The lines of a query's plan.
fn plan(connection: &Connection, query: &str) -> Vec<String> {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
    let parameters = vec![rusqlite::types::Value::Null; explain.parameter_count()];
    let lines = explain.query_map(rusqlite::params_from_iter(parameters), |row| row.get(3)).unwrap();
    lines.map(std::result::Result::unwrap).collect()
}

#[test]
fn every_query_is_one_search_of_an_index_without_a_sort() {
    let (_directory, path) = file();
    prepare(&path).unwrap();
    let connection = open_for_writing(&path).unwrap();
    let position = Position::START;
    let head = |horizon| Head { position, horizon, ..Head::default() };
    for (query, index) in [
        (read::scan_query(Scan::Log { after: position }, None, false), "operations USING PRIMARY KEY"),
        (read::scan_query(Scan::Log { after: position }, None, true), "operations USING PRIMARY KEY"),
        (read::time_query(head(Seq::START)), "operations USING INDEX operations_by_time"),
        (read::time_query(head(Seq::new(1))), "documents USING INDEX documents_by_time"),
        (read::collection_query(false), "documents USING INDEX documents_by_collection"),
        (read::LEAST_PULLED_QUERY.to_owned(), "clients USING COVERING INDEX clients_by_pulled_seq"),
        (read::CLIENTS_QUERY.to_owned(), "clients USING PRIMARY KEY"),
        (write::retention::OLD_TOMBSTONES_QUERY.to_owned(), "documents USING INDEX documents_deleted_by_seq"),
        (write::retention::REMOVE_TOMBSTONES.to_owned(), "documents USING INDEX documents_deleted_by_seq"),
        (write::retention::OLD_REMAINS_QUERY.to_owned(), "fingerprints USING PRIMARY KEY"),
        (write::retention::REMOVE_REMAINS.to_owned(), "fingerprints USING PRIMARY KEY"),
    ] {
        let plan = plan(&connection, &query);
        assert_eq!(plan.len(), 1, "{query}: {plan:?}");
        assert!(plan[0].starts_with(&format!("SEARCH {index}")), "{query}: {plan:?}");
    }
}

#[test]
fn a_page_of_documents_merges_searches_and_sorts_nothing() {
    let (_directory, path) = file();
    prepare(&path).unwrap();
    let connection = open_for_writing(&path).unwrap();
    let scan = Scan::State { after: Position::START, tombstones_after: Some(Seq::START) };
    for (collections, kind, indexes, keys) in [
        (None, "INDEX", ["documents_live_by_seq", "documents_deleted_by_seq"], "tenant=? AND seq>?"),
        (
            Some(100),
            "COVERING INDEX",
            ["documents_by_collection", "documents_deleted_by_collection"],
            "tenant=? AND collection=? AND seq>?",
        ),
    ] {
        let plan = plan(&connection, &read::scan_query(scan, collections, false));
        for index in indexes {
            let search = format!("SEARCH documents USING {kind} {index} ({keys})");
            let searches = plan.iter().filter(|line| **line == search).count();
            assert_eq!(searches, collections.map_or(1, usize::next_power_of_two), "{plan:?}");
        }
        let mut others = plan.iter().filter(|line| !line.starts_with("SEARCH"));
        assert!(others.all(|line| ["MERGE (UNION ALL)", "LEFT", "RIGHT"].contains(&line.as_str())), "{plan:?}");
    }
}

#[test]
fn a_file_of_the_first_version_is_brought_up_to_date() {
    let (_directory, path) = file();
    let first = Connection::open(&path).unwrap();
    first.execute_batch(include_str!("migrations/0001_schema.sql")).unwrap();
    let rows = r#"
        INSERT INTO heads VALUES ('t', 2, 7, 1, 1, 1, 5), ('empty', 0, 0, 0, 0, 0, 0);
        INSERT INTO operations VALUES ('t', 2, 7, 'op-2', 'insert', 'c', 'd', '{"ä":1}', 1, 'a', '{"a":2}', 5);
        INSERT INTO documents VALUES ('t', 'c', 'd', 2, 2, 0, 'op-2', 1, 'a', '{"a":2}', '{"ä":1}');
        INSERT INTO documents VALUES ('t', 'c', 'gone', 1, 1, 1, 'op-1', 1, 'a', '{"a":1}', NULL);
    "#;
    first.execute_batch(rows).unwrap();
    first.pragma_update(None, "application_id", 0x7379_6e63).unwrap();
    first.pragma_update(None, "user_version", 1).unwrap();
    drop(first);
    let store = SqliteStore::open(&path, 1).unwrap();
    let usage = |tenant| {
        let request = LoadRequest { with_usage: true, ..LoadRequest::default() };
        block_on(store.load(&TenantId::literal(tenant), request)).unwrap().usage
    };
    let bytes = 2 * ("{\"ä\":1}".len() + "{\"a\":2}".len()) + "{\"a\":1}".len();
    assert_eq!(usage("t"), Some(Usage { documents: 1, bytes: bytes as u64, operation_ids: 2 }));
    assert_eq!(usage("empty"), Some(Usage::default()));
    drop(store);
    let count = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'documents%_by_seq'";
    let indexes: i64 = Connection::open(&path).unwrap().query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(indexes, 2);
}

/// Work that has no end of its own.
const ENDLESS: &str = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";

/// Keeps a reader at work until the answer is dropped.
fn begin_endless_work(store: &SqliteStore) -> impl Future<Output = Result<()>> + '_ {
    let (begun, has_begun) = std::sync::mpsc::channel();
    let mut work = Box::pin(store.readers.run("query", move |connection, _| {
        begun.send(()).unwrap();
        connection.query_row(ENDLESS, [], |_| Ok(()))
    }));
    assert!(futures_util::FutureExt::now_or_never(&mut work).is_none());
    has_begun.recv().unwrap();
    work
}

#[test]
fn a_statement_that_nobody_waits_for_is_interrupted() {
    let (_directory, path) = file();
    let store = SqliteStore::open(&path, 1).unwrap();
    drop(begin_endless_work(&store));
    block_on(store.readers.run("load", |connection, _| read::check(connection))).unwrap();
    drop(begin_endless_work(&store));
    drop(store);
}

#[test]
fn a_check_waits_for_no_reader() {
    let (_directory, path) = file();
    let store = SqliteStore::open(&path, 1).unwrap();
    let work = begin_endless_work(&store);
    block_on(store.check()).unwrap();
    drop(work);
}

#[test]
fn pages_and_queries_leave_a_reader_to_loads_and_documents() {
    let (_directory, path) = file();
    let store = SqliteStore::open(&path, 4).unwrap();
    assert_eq!((store.pages.try_acquire().is_some(), store.scans.try_acquire().is_some()), (true, true));
    let pages: Vec<_> = std::iter::from_fn(|| store.pages.try_acquire()).collect();
    let scans: Vec<_> = std::iter::from_fn(|| store.scans.try_acquire()).collect();
    assert_eq!((pages.len(), scans.len()), (3, 2));
}

#[test]
fn a_short_read_is_done_by_a_thread_if_no_other_connection_is_free() {
    let (_directory, path) = file();
    let store = SqliteStore::open_with_lookups(&path, 1, 2).unwrap();
    let all_in_use: Vec<_> = std::iter::from_fn(|| store.lookups.try_take()).collect();
    assert_eq!(all_in_use.len(), 2);
    assert!(store.lookups.try_read(|_| Ok(Some(()))).is_none());
    let (tenant, client) = (TenantId::literal("t"), ClientId::literal("a"));
    assert_eq!(block_on(store.client(&tenant, &client)).unwrap(), None);
    drop(all_in_use);
    assert!(store.lookups.try_read(|_| Ok(Some(()))).is_some());
    assert!(store.lookups.try_read(|_| -> rusqlite::Result<Option<()>> { panic!("a read") }).is_none());
    assert!(store.lookups.try_read(|_| Ok(Some(()))).is_some(), "the connection still works");
    assert!(SqliteStore::open(&path, 1).unwrap().lookups.try_take().is_none());
    std::fs::rename(&path, path.with_extension("gone")).unwrap();
    assert!(store.lookups.try_read(|_| Ok(Some(()))).is_none(), "the file is gone");
}

#[test]
fn what_a_small_push_needs_is_read_by_no_thread() {
    let (_directory, path) = file();
    let store = SqliteStore::open_with_lookups(&path, 2, 1).unwrap();
    let insert = "INSERT INTO documents
                      (tenant, collection, id, rev, seq, is_deleted, operation_id, timestamp, client_id, clock, data)
                  VALUES ('t', 'c', ?1, 1, ?2, ?3 IS NULL, ?1, 1, 'a', '{\"a\":1}', ?3)";
    let connection = Connection::open(&path).unwrap();
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(LOOKUP_MAX_BYTES));
    for (seq, (id, data)) in
        [("small", Some("{}")), ("large", Some(large.as_str())), ("gone", None)].into_iter().enumerate()
    {
        connection.execute(insert, rusqlite::params![id, i64::try_from(seq).unwrap(), data]).unwrap();
    }
    let is_read_at_once = |ids: usize, id, with_stamps| {
        let request = LoadRequest {
            ids: (0..ids).map(|number| OperationId::literal(&number.to_string())).collect(),
            keys: vec![DocumentKey::parse("c", id).unwrap()],
            with_stamps,
            ..LoadRequest::default()
        };
        futures_util::FutureExt::now_or_never(store.load(&TenantId::literal("t"), request)).is_some()
    };
    // Both readers are at work, so nothing else is read by a thread.
    let _work = [begin_endless_work(&store), begin_endless_work(&store)];
    for (ids, id, with_stamps, expected) in [
        (1, "small", false, true),
        (1, "small", true, true),
        (1, "unknown", true, true),
        (LOOKUP_MAX_ROWS, "small", false, false),
        (1, "large", false, false),
        (1, "gone", false, true),
        (1, "gone", true, false),
    ] {
        assert_eq!(is_read_at_once(ids, id, with_stamps), expected, "{ids} {id} {with_stamps}");
    }
}

#[test]
fn a_statement_is_not_prepared_again_for_another_value() {
    let (_directory, path) = file();
    drop(SqliteStore::open(&path, 1).unwrap());
    let connection = open_for_reading(&path).unwrap();
    let find =
        || connection.prepare_cached(&read::scan_query(Scan::Log { after: Position::START }, None, false)).unwrap();
    for after in 0..5 {
        assert!(!find().exists(rusqlite::params!["t", after]).unwrap());
    }
    assert_eq!(find().get_status(rusqlite::StatementStatus::RePrepare), 0);
}

#[test]
fn a_file_of_another_program_is_refused_and_left_as_it_was() {
    let (_directory, path) = file();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = SqliteStore::open(&path, 1).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    assert!(!error.can_retry());
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_of_a_later_version_and_a_file_that_is_not_a_database_are_refused() {
    let (_directory, path) = file();
    drop(SqliteStore::open(&path, 1).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = SqliteStore::open(&path, 1).unwrap_err();
    assert!(error.to_string().contains("schema version 99"), "{error}");
    std::fs::write(&path, "certainly not a database, but long enough to be read as one").unwrap();
    assert!(SqliteStore::open(&path, 1).is_err());
}

#[test]
fn a_store_that_is_closed_leaves_one_file() {
    let (directory, path) = file();
    drop(SqliteStore::open(&path, 3).unwrap());
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["store.db"]);
}

#[test]
fn many_openings_of_one_new_file_at_once_all_succeed() {
    for _ in 0..20 {
        let (_directory, path) = file();
        let start = Barrier::new(8);
        let open = || {
            start.wait();
            SqliteStore::open(&path, 1)
        };
        std::thread::scope(|scope| {
            let openings: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            for opening in openings {
                opening.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn work_that_panics_fails_alone() {
    let (_directory, path) = file();
    let store = SqliteStore::open(&path, 1).unwrap();
    let panics = store.writer.run("commit", |connection, _| -> rusqlite::Result<()> {
        let _transaction = connection.transaction()?;
        panic!("on purpose")
    });
    let error = block_on(panics).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    block_on(store.writer.run("commit", |connection, _| connection.transaction()?.commit())).unwrap();
}

/// The writer is held up, so that the commits of three tenants wait for it.
#[test]
fn commits_that_wait_at_the_same_time_share_a_transaction() {
    let (_directory, path) = file();
    let store = SqliteStore::open(&path, 1).unwrap();
    let transactions = Arc::new(AtomicUsize::new(0));
    let (let_go, gate) = std::sync::mpsc::channel::<()>();
    let counter = Arc::clone(&transactions);
    let hold = store.writer.run("commit", move |connection, _| {
        connection.commit_hook(Some(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            false
        }))?;
        gate.recv().unwrap();
        Ok(())
    });
    let commits = ["a", "b", "c"].map(|tenant| {
        let key = DocumentKey::parse("todos", tenant).unwrap();
        let snapshot = Snapshot::default();
        let operation = Operation {
            id: OperationId::literal(tenant),
            change: Change::Insert(Object::literal("{}")),
            key,
            timestamp: UnixMs::new(1),
            client_id: ClientId::literal("a"),
            clock: VectorClock::from_iter([(ClientId::literal("a"), 1)]),
        };
        let (_, batch) = decide(&[[operation][..].into()], &snapshot, UnixMs::new(1));
        let store = &store;
        async move { store.commit(&TenantId::literal(tenant), batch).await }
    });
    let mut work = Box::pin(join(hold, join_all(commits)));
    assert!(futures_util::FutureExt::now_or_never(&mut work).is_none());
    let_go.send(()).unwrap();
    let (done, commits) = block_on(work);
    done.unwrap();
    assert!(commits.into_iter().all(|commit| commit.unwrap() == Commit::Done));
    assert_eq!(transactions.load(Ordering::Relaxed), 1);
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_path_is_a_path_and_no_name_of_sqlite_s_own() {
    for path in ["", ":memory:"] {
        let error = SqliteStore::open(Path::new(path), 1).unwrap_err();
        assert!(error.to_string().contains("ADAPTER=memory"), "{error}");
    }
    let (directory, _) = file();
    for name in ["file::memory:?cache=shared", "file:x.db?mode=memory", "a b?#%41.db"] {
        let path = directory.path().join(name);
        drop(SqliteStore::open(&path, 1).unwrap());
        assert!(std::fs::metadata(&path).unwrap().len() > 0, "{name}");
    }
    assert_eq!(file::without_scheme(Path::new("file:x")), Path::new("./file:x"));
}

#[test]
fn what_cannot_be_a_database_is_refused_with_the_reason() {
    let (directory, path) = file();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path().join("nothing"), &link).unwrap();
    std::fs::write(&path, "").unwrap();
    for (path, reason) in [
        (directory.path().to_owned(), "a directory"),
        (directory.path().join("no/such/x.db"), "does not exist"),
        (path.join("x.db"), "cannot be made or read"),
        ("/dev/null".into(), "not one of a regular file"),
        (link, "symbolic link"),
    ] {
        let error = SqliteStore::open(&path, 1).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn a_database_that_takes_no_write_ahead_log_is_refused() {
    // A database in memory has no write-ahead log, like files on many network file systems.
    let error = schema::enter_wal_mode(&Connection::open_in_memory().unwrap()).unwrap_err();
    assert!(error.to_string().contains("write-ahead log") && error.to_string().contains("memory"), "{error}");
}

#[test]
fn new_files_are_their_owner_s_alone_and_an_old_one_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt as _;

    let (directory, path) = file();
    let modes = || {
        let files = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap());
        let modes = files.map(|file| file.metadata().unwrap().permissions().mode() & 0o777);
        modes.collect::<Vec<_>>()
    };
    let store = SqliteStore::open(&path, 1).unwrap();
    assert_eq!(modes(), [0o600; 3], "the file, its log and the index of that");
    drop(store);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let _store = SqliteStore::open(&path, 1).unwrap();
    assert_eq!(modes(), [0o640; 3]);
}

#[test]
fn erasing_that_a_reader_hindered_is_done_by_the_next_compaction() {
    let (_directory, path) = file();
    prepare(&path).unwrap();
    let writer = open_for_writing(&path).unwrap();
    let filled = "CREATE TABLE t (a); INSERT INTO t VALUES ('a-secret-text'); PRAGMA wal_checkpoint(TRUNCATE);
                  DELETE FROM t; CREATE TABLE u (a)";
    let eraser = Eraser::default();
    let wal = path.with_extension("db-wal");
    let wal_bytes = || std::fs::metadata(&wal).unwrap().len();
    writer.execute_batch(filled).unwrap();
    let reader = open_for_reading(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM u").unwrap();
    eraser.compacted(&writer, Compaction { deleted_entries: 1, is_finished: true }).unwrap();
    assert!(wal_bytes() > 0, "the reader still needs it");
    reader.execute_batch("COMMIT").unwrap();
    eraser.compacted(&writer, Compaction { deleted_entries: 0, is_finished: true }).unwrap();
    assert_eq!(wal_bytes(), 0);
    writer.execute_batch("CREATE TABLE v (a)").unwrap();
    eraser.compacted(&writer, Compaction { deleted_entries: 0, is_finished: true }).unwrap();
    assert!(wal_bytes() > 0, "nothing was left to erase");
    let of_the_next_process = Eraser::default();
    of_the_next_process.compacted(&writer, Compaction { deleted_entries: 0, is_finished: true }).unwrap();
    assert_eq!(wal_bytes(), 0, "the first may have been killed before it erased");
}

/// A full disk is played by a limit of the file's pages. Then nothing can be noted, but everything can be read.
#[test]
fn a_full_disk_ends_writes_and_no_reads() {
    let (_directory, path) = file();
    let store = SqliteStore::open(&path, 1).unwrap();
    let full = store.writer.run("commit", |connection, _| {
        let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
    });
    block_on(full).unwrap();
    let tenant = TenantId::literal("t");
    let progress = Progress { pulled_seq: Seq::new(1), seen_at_ms: UnixMs::new(1) };
    let full = (0..100_000).find_map(|number| {
        let client = ClientId::literal(&format!("client-{number}"));
        block_on(store.note_pulled(&tenant, &client, progress)).err()
    });
    let full = full.expect("no more clients fit");
    assert!(full.can_retry() && full.to_string().contains("full"), "{full}");
    let client_id = Some(ClientId::literal("new"));
    let changes = ChangesRequest { client_id, ..ChangesRequest::operations(None, 9) };
    assert!(matches!(block_on(store.changes(&tenant, changes)), Ok(Changes::Page { noted: None, .. })));
    assert!(block_on(store.client(&tenant, &ClientId::literal("client-0"))).unwrap().is_some());
}
