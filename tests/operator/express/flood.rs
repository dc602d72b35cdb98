//! Rows that cannot be taken over and follow each other, in great number.

use std::sync::Arc;

use async_trait::async_trait;
use syncflow_server::conformance::World;
use syncflow_server::core::names::DocumentKey;
use syncflow_server::limits::service::EXPRESS_BAD_ROWS_MAX_ENTRIES;
use syncflow_server::service::operator::{BadRows, Operator};
use syncflow_server::store::Result;
use syncflow_server::store::express::{ExpressDocument, ExpressOperation, ExpressSource};
use syncflow_server::store::memory::MemoryStore;

/// The rows that are read together.
const PART: usize = 100;
/// The bad rows of each kind.
const BAD: usize = 3 * EXPRESS_BAD_ROWS_MAX_ENTRIES;

/// A database with bad documents before a good one, whose operations are bad ones before a good one.
#[derive(Debug, Default)]
struct Flood {
    documents: usize,
    operations: usize,
}

/// The numbers of the rows of the next part. The one after the bad rows is that of the good row.
fn part(read: &mut usize) -> std::ops::Range<usize> {
    let begin = *read;
    *read = (begin + PART).min(BAD + 1);
    begin..*read
}

#[async_trait]
impl ExpressSource for Flood {
    async fn documents(&mut self) -> Result<Vec<ExpressDocument>> {
        let document = |number| ExpressDocument {
            place: format!("documents {number}"),
            collection: if number < BAD { Err("it is not a name".to_owned()) } else { Ok("todos".to_owned()) },
            id: Ok("milk".to_owned()),
            data: Ok("{}".to_owned()),
            rev: Ok(1),
            is_deleted: Ok(false),
            vector_clock: Ok(r#"{"phone":1}"#.to_owned()),
            updated_at: Ok(1),
        };
        Ok(part(&mut self.documents).map(document).collect())
    }

    async fn operations(&mut self) -> Result<Vec<ExpressOperation>> {
        let operation = |number| ExpressOperation {
            place: format!("operations {number}"),
            id: Ok(format!("op-{number}")),
            kind: Ok("insert".to_owned()),
            collection: Ok("todos".to_owned()),
            doc_id: Ok("milk".to_owned()),
            timestamp: if number < BAD { Err("it is not a time".to_owned()) } else { Ok(1) },
            client_id: Ok("phone".to_owned()),
            vector_clock: Ok(r#"{"phone":1}"#.to_owned()),
        };
        Ok(part(&mut self.operations).map(operation).collect())
    }

    async fn data_of(&mut self, _: &str) -> Result<std::result::Result<Option<String>, String>> {
        Ok(Ok(Some("{}".to_owned())))
    }

    async fn greatest_timestamp(&mut self) -> Result<u64> {
        Ok(1)
    }

    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn bad_rows_are_reported_before_a_good_one_comes() {
    let world = World::new(Arc::new(MemoryStore::new())).as_tenant("shop");
    let operator = Operator::new(Arc::clone(&world.service));
    for (bad_rows, is_dry_run) in [(BadRows::Stop, true), (BadRows::Skip, false)] {
        let mut import = operator.import_express(&world.tenant, Box::new(Flood::default()), bad_rows, is_dry_run);
        let mut places = Vec::new();
        while let Some(bad) = import.next().await.expect("it goes on") {
            assert!(bad.len() < EXPRESS_BAD_ROWS_MAX_ENTRIES + PART, "{} are held in memory", bad.len());
            places.extend(bad.into_iter().map(|bad| bad.place));
        }
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 2 * BAD, "each is reported once");
        let imported = import.finish().await.expect("it ends");
        assert_eq!((imported.documents, imported.ids, imported.bad_rows), (1, 1, 2 * BAD as u64));
    }
    let key = DocumentKey::parse("todos", "milk").expect("names");
    assert!(world.service.document_state(&world.tenant, &key).await.expect("the store works").is_some());
}
