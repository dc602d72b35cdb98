//! Backups of an SQLite file while it is used, and how they come back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::{insert, inserts};
use syncflow_server::service::{PullFrom, Pulled};
use syncflow_server::store::sqlite::{backup, restore};

use crate::support::stores::open_sqlite;

fn names(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).expect("a directory").map(|file| file.expect("a file").file_name());
    let mut names: Vec<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_backup_has_everything_and_comes_back_and_cursors_of_the_lost_history_are_reset() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, copy) = (directory.path().join("a.db"), directory.path().join("b.db"));
    let world = World::new(open_sqlite(&file));
    world.apply(inserts(3)).await;
    let kept = world.head().await;
    backup(&file, &copy).expect("while the store is open");
    assert!(backup(&file, &copy).expect_err("it exists").to_string().contains("exists already"));
    world.apply([insert("lost-1", "doc-4"), insert("lost-2", "doc-5")]).await;
    let lost = world.head().await;

    let refused = restore(&copy, &file).expect_err("the store is open").to_string();
    assert!(refused.contains("open; stop it first"), "{refused}");
    assert_eq!(world.stats().await.documents, 5, "nothing has changed");
    drop(world);
    let former = restore(&copy, &file).expect("nobody has it open").expect("there was a file");
    assert_eq!(names(directory.path()), ["a.db", "a.db.before-restore-1", "b.db"]);

    let world = World::new(open_sqlite(&file));
    assert_eq!(world.stats().await.documents, 3);
    assert_eq!(world.pull(PullFrom::Cursor(Some(lost)), None, 9).await, Pulled::Reset);
    world.apply([insert("new-1", "doc-4"), insert("new-2", "doc-5"), insert("new-3", "doc-6")]).await;
    assert_eq!(world.pull(PullFrom::Cursor(Some(lost)), None, 9).await, Pulled::Reset, "of another history");
    assert_eq!(world.page(Some(kept), 9).await.entries.len(), 3, "a place before the backup is one of this history");
    assert_eq!(World::new(open_sqlite(&former)).stats().await.documents, 5, "the former file is kept whole");
}

#[tokio::test]
async fn there_is_a_whole_file_at_every_moment_of_a_restore() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, copy) = (directory.path().join("a.db"), directory.path().join("b.db"));
    let world = World::new(open_sqlite(&file));
    world.apply(inserts(3)).await;
    backup(&file, &copy).expect("a backup");
    world.apply([insert("later", "doc-4")]).await;
    drop(world);
    let is_over = Arc::new(AtomicBool::new(false));
    let watched = (file.clone(), Arc::clone(&is_over));
    let watch = thread::spawn(move || {
        let (file, is_over) = watched;
        let mut missing = 0;
        while !is_over.load(Ordering::Relaxed) {
            missing += u64::from(fs::metadata(&file).map_or(0, |found| found.len()) == 0);
        }
        missing
    });
    for _ in 0..60 {
        let former = restore(&copy, &file).expect("nobody has it open").expect("there was a file");
        let (connection, is_whole) = (rusqlite::Connection::open(&former).expect("it opens"), "PRAGMA quick_check(1)");
        let state: String = connection.query_row(is_whole, [], |row| row.get(0)).expect("it is checked");
        assert_eq!(state, "ok");
        drop(connection);
        fs::remove_file(former).expect("it is removed");
    }
    is_over.store(true, Ordering::Relaxed);
    assert_eq!(watch.join().expect("it does not panic"), 0, "there was no file for a moment");
    assert_eq!(names(directory.path()), ["a.db", "b.db"]);
    assert_eq!(World::new(open_sqlite(&file)).stats().await.documents, 3);
}

#[tokio::test]
async fn a_write_ahead_log_that_was_left_behind_is_not_put_over_the_backup() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, copy) = (directory.path().join("a.db"), directory.path().join("b.db"));
    let world = World::new(open_sqlite(&file));
    world.apply(inserts(3)).await;
    backup(&file, &copy).expect("a backup");
    world.apply([insert("later", "doc-4")]).await;
    let left = directory.path().join("a.db-wal");
    let log = fs::read(&left).expect("the server runs, so there is a write-ahead log");
    assert!(!log.is_empty());
    drop(world);
    for contents in [&fs::read(&file).expect("the file")[..], b"this is no database", &[0x5a; 8192]] {
        fs::write(&left, &log).expect("the server was killed");
        fs::write(&file, contents).expect("the file may be damaged");
        restore(&copy, &file).expect("it is replaced").expect("there was a file");
        assert!(!left.exists());
        assert_eq!(World::new(open_sqlite(&file)).stats().await.documents, 3);
    }
}

#[tokio::test]
async fn what_is_not_a_backup_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let world = World::new(open_sqlite(&path("a.db")));
    world.apply(inserts(2)).await;
    backup(&path("a.db"), &path("good.db")).expect("a backup");
    drop(world);
    fs::write(path("text.db"), "this is no database, however long it is. ".repeat(100)).expect("a file");
    let mut bytes = fs::read(path("good.db")).expect("the backup");
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5a);
    fs::write(path("damaged.db"), bytes).expect("a file");
    let foreign = rusqlite::Connection::open(path("foreign.db")).expect("a database");
    foreign.execute_batch("CREATE TABLE theirs (x)").expect("a table");
    drop(foreign);
    for (name, why) in [
        ("missing.db", "there is no file"),
        ("text.db", "not a database"),
        ("damaged.db", ""),
        ("foreign.db", "another program"),
    ] {
        let refused = restore(&path(name), &path("a.db")).expect_err(name).to_string();
        assert!(refused.contains(why), "{name}: {refused}");
        assert!(backup(&path(name), &path("new.db")).is_err() || name == "damaged.db", "{name}");
        let _ = fs::remove_file(path("new.db"));
        assert_eq!(World::new(open_sqlite(&path("a.db"))).stats().await.documents, 2, "{name}");
    }
    assert_eq!(restore(&path("good.db"), &path("elsewhere.db")).expect("a new place"), None);
    assert_eq!(World::new(open_sqlite(&path("elsewhere.db"))).stats().await.documents, 2);
    let names = names(directory.path());
    assert_eq!(
        names,
        ["a.db", "damaged.db", "elsewhere.db", "foreign.db", "good.db", "text.db"],
        "nothing else is left"
    );
}
