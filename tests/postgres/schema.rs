//! The schema: the first process creates it, few rights are enough to use it, and unsuitable ones are refused.

use futures_util::future::join_all;
use syncflow_server::conformance::draft::{delete, insert};
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::decide::Outcome;
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::core::page::TimePlace;
use syncflow_server::store::postgres::PostgresOptions;
use syncflow_server::store::{ChangesRequest, ErrorKind, TimeRequest};
use tokio_postgres::Client;

use super::world;
use crate::support::postgres::{CleanUp, Schema, connect, key_values, server_url, unique_name};

async fn steps_taken(client: &Client, schema: &Schema) -> i64 {
    let sql = format!("SELECT count(*) FROM {}.syncflow_migrations", schema.quoted());
    client.query_one(&sql, &[]).await.expect("the schema is there").get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_cold_starts_at_once_one_makes_the_schema_and_all_can_use_it() {
    let schema = Schema::new();
    let worlds: Vec<_> = (0..24).map(|_| world(&schema.options())).collect();
    let starts = worlds.into_iter().enumerate().map(|(number, world)| async move {
        tokio::spawn(async move { world.apply([insert(&format!("op-{number}"), &format!("doc-{number}"))]).await })
            .await
    });
    for start in join_all(starts).await {
        start.expect("a start succeeds");
    }
    assert_eq!(world(&schema.options()).stats().await.operations, 24);
    assert_eq!(steps_taken(&connect(&server_url()).await, &schema).await, 17);
}

#[tokio::test]
async fn a_role_that_may_only_read_and_write_will_do_once_the_schema_is_there() {
    let schema = Schema::new();
    world(&schema.options()).apply([insert("op-1", "doc-1")]).await;
    let admin = connect(&server_url()).await;
    let role = Role::new(&admin).await;
    let grants = format!(
        "GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
        schema = schema.quoted(),
        role = role.name,
    );
    admin.batch_execute(&grants).await.expect("rights can be given");
    let mut options = schema.options();
    options.connection_string = role.connection_string();
    let world = world(&options);
    world.apply([insert("op-2", "doc-2")]).await;
    world.page(None, 10).await;
    world.since("me", 0, 10).await;
    world.since_of_nobody(0, 10).await;
    world.query(&[("n", "null")]).await;
    world.store.check().await.expect("the store is there");
    assert_eq!(world.stats().await.documents, 2);
    assert_eq!(world.compact(0).await, 2);
}

#[tokio::test]
async fn a_role_that_may_not_create_is_told_so_while_the_schema_is_missing() {
    let schema = Schema::new();
    let admin = connect(&server_url()).await;
    let role = Role::new(&admin).await;
    let mut options = schema.options();
    options.connection_string = role.connection_string();
    let error = world(&options).store.check().await.expect_err("there is no schema");
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.to_string().contains("permission denied"), "{error}");
}

#[tokio::test]
async fn a_schema_of_a_later_version_is_used_as_it_is() {
    let schema = Schema::new();
    world(&schema.options()).apply([insert("op-1", "doc-1")]).await;
    let admin = connect(&server_url()).await;
    let later = format!("INSERT INTO {}.syncflow_migrations DEFAULT VALUES", schema.quoted());
    admin.batch_execute(&later).await.expect("a later version takes a step");
    world(&schema.options()).apply([insert("op-2", "doc-2")]).await;
    assert_eq!(steps_taken(&admin, &schema).await, 18);
}

#[tokio::test]
async fn a_page_of_another_mode_than_the_core_chooses_is_an_error() {
    let schema = Schema::new();
    let world = world(&schema.options());
    world.apply([insert("op-1", "doc-1"), insert("op-2", "doc-2")]).await;
    world.compact(0).await;
    let by_time = TimeRequest { after: TimePlace::after_timestamp(UnixMs::EPOCH), max_operations: 9 };
    let pull = || async {
        let request = ChangesRequest::operations(Some(Cursor::BEGINNING), 9);
        let page = world.store.changes(&world.tenant, request).await.map(drop);
        (page, world.store.changes_by_time(&world.tenant, by_time).await.map(drop))
    };
    let (page, page_by_time) = pull().await;
    assert!(page.is_ok() && page_by_time.is_ok());
    let admin = connect(&server_url()).await;
    for (function, choice) in
        [("syncflow_feed", "in_log AND after_seq >= head.horizon"), ("syncflow_changes_by_time", "head.horizon = 0")]
    {
        let sql = "SELECT pg_get_functiondef(oid) FROM pg_proc
                   WHERE proname = $1 AND pronamespace = to_regnamespace($2)";
        let row = admin.query_one(sql, &[&function, &schema.quoted()]).await.expect("the function is there");
        let before: String = row.get(0);
        let after = before.replace(choice, "true");
        assert_ne!(after, before, "{function} chooses in another way");
        admin.batch_execute(&after).await.expect("the function can be replaced");
    }
    let (page, page_by_time) = pull().await;
    for error in [page.expect_err("the log is gone"), page_by_time.expect_err("the log is gone")] {
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert!(error.to_string().contains("another mode"), "{error}");
    }
}

#[tokio::test]
async fn tables_of_others_with_our_names_are_left_alone() {
    let schema = Schema::new();
    let admin = connect(&server_url()).await;
    let theirs = format!("CREATE SCHEMA {0}; CREATE TABLE {0}.syncflow_heads (theirs text)", schema.quoted());
    admin.batch_execute(&theirs).await.expect("somebody has such a table");
    let error = world(&schema.options()).store.check().await.expect_err("the name is taken");
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.to_string().contains("\"syncflow_heads\" already exists"), "{error}");
    assert!(error.to_string().contains("set another schema"), "{error}");
    let sql = "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r'";
    let tables: i64 = admin.query_one(sql, &[&schema.quoted()]).await.expect("they are counted").get(0);
    assert_eq!(tables, 1, "nothing of ours is left");
}

#[tokio::test]
async fn names_that_come_before_ours_on_the_search_path_are_not_taken_for_ours() {
    let (schema, decoy) = (Schema::new(), Schema::new());
    let admin = connect(&server_url()).await;
    let role = Role::new(&admin).await;
    let sql = format!(
        "CREATE SCHEMA {decoy}; CREATE TABLE {decoy}.syncflow_heads (theirs text); GRANT ALL ON SCHEMA {decoy} TO {role};
         CREATE SCHEMA {schema} AUTHORIZATION {role};
         ALTER ROLE {role} SET search_path = {decoy}",
        decoy = decoy.quoted(),
        schema = schema.quoted(),
        role = role.name,
    );
    admin.batch_execute(&sql).await.expect("a decoy");
    let mut options = schema.options();
    options.connection_string = role.connection_string();
    world(&options).apply([insert("op-1", "doc-1")]).await;
    assert_eq!(world(&options).stats().await.operations, 1);
    assert_eq!(world(&options).compact(0).await, 1);
}

#[tokio::test]
async fn a_database_in_another_encoding_is_refused() {
    let url = server_url();
    let name = unique_name();
    let create = format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    connect(&url).await.batch_execute(&create).await.expect("a database can be made");
    let _clean_up = CleanUp::new(&url, format!("DROP DATABASE {name} WITH (FORCE)"));
    let options = PostgresOptions::new(&format!("{} dbname={name}", key_values(&url)));
    let error = world(&options).store.check().await.expect_err("it is refused");
    assert!(error.to_string().contains("must have the encoding UTF8, not LATIN1"), "{error}");
}

/// The bytes that the head of the tenant has, and those of its documents and its log.
async fn bytes(client: &Client, schema: &Schema) -> (i64, i64) {
    let kept = |table: &str, data: &str| {
        let schema = schema.quoted();
        format!(
            "(SELECT coalesce(sum(octet_length(coalesce({data}, '')) + octet_length(clock)), 0) FROM {schema}.{table})"
        )
    };
    let sql = format!(
        "SELECT bytes, ({} + {})::bigint FROM {}.syncflow_heads",
        kept("syncflow_documents", "body"),
        kept("syncflow_operations", "data"),
        schema.quoted(),
    );
    let row = client.query_one(&sql, &[]).await.expect("there is one head");
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn the_bytes_of_a_tenant_are_counted_by_the_step_and_for_servers_of_the_version_before() {
    let schema = Schema::new();
    let before = world(&schema.options());
    before.apply([insert("op-1", "doc-1").data(r#"{"ä":1}"#), insert("op-2", "doc-2"), delete("op-3", "doc-2")]).await;
    before.compact(0).await;
    before.apply([insert("op-4", "doc-4").data(r#"{"b":2}"#)]).await;
    let admin = connect(&server_url()).await;
    let (counted, expected) = bytes(&admin, &schema).await;
    assert_eq!((counted, counted > 0), (expected, true));

    let undo = format!(
        "DO $$ DECLARE f regprocedure; BEGIN
             FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = '{0}'::regnamespace
                 AND (proname IN ('syncflow_usage', 'syncflow_feed', 'syncflow_load_owners', 'syncflow_owner',
                         'syncflow_subject', 'syncflow_claim', 'syncflow_load_places', 'syncflow_learn',
                         'syncflow_scrub', 'syncflow_erase', 'syncflow_commit_resolved',
                         'syncflow_commit_known', 'syncflow_clients_after', 'syncflow_load_all', 'syncflow_aged_place',
                         'syncflow_expire', 'syncflow_count_expired')
                     OR proname = 'syncflow_commit' AND pronargs IN (24, 30, 36))
             LOOP EXECUTE 'DROP FUNCTION ' || f; END LOOP;
         END $$;
         DROP INDEX {0}.syncflow_documents_deleted_of_collection;
         DROP TABLE {0}.syncflow_former_labels;
         DROP TABLE {0}.syncflow_stamps;
         ALTER TABLE {0}.syncflow_documents DROP COLUMN stamps;
         ALTER TABLE {0}.syncflow_operations DROP COLUMN kept;
         DROP TABLE {0}.syncflow_owners;
         ALTER TABLE {0}.syncflow_operations DROP COLUMN subject;
         ALTER TABLE {0}.syncflow_heads DROP COLUMN bytes;
         ALTER TABLE {0}.syncflow_heads DROP COLUMN floor, DROP COLUMN floor_fingerprint, DROP COLUMN tombstones_gone;
         ALTER TABLE {0}.syncflow_fingerprints DROP COLUMN id, DROP COLUMN received_at_ms;
         DELETE FROM {0}.syncflow_migrations WHERE step >= 7",
        schema.quoted(),
    );
    admin.batch_execute(&undo).await.expect("the step is undone");
    let after = world(&schema.options());
    after.store.check().await.expect("the step is taken again");
    assert_eq!(bytes(&admin, &schema).await, (expected, expected));

    let old_commit = format!(
        r#"SELECT {}.syncflow_commit('default', -1, 5, '{{op-5,op-6}}', '{{delete,insert}}', '{{todos,todos}}',
            '{{doc-1,doc-9}}', ARRAY[NULL, '{{"ü":3}}'], '{{1,1}}', '{{a,a}}', ARRAY['{{"a":2}}', '{{"a":1}}'], '{{1,2}}',
            '{{todos,todos}}', '{{doc-1,doc-9}}', '{{1,NULL}}', '{{2,1}}', '{{1,2}}', ARRAY[NULL, '{{"ü":3}}'],
            '{{NULL,NULL}}', '{{op-5,op-6}}', '{{a,a}}', '{{1,1}}', ARRAY['{{"a":2}}', '{{"a":1}}'])"#,
        schema.quoted(),
    );
    admin.batch_execute(&old_commit).await.expect("the version before commits");
    let (counted, expected) = bytes(&admin, &schema).await;
    assert_eq!(counted, expected);
    assert_eq!(after.usage().await.bytes, u64::try_from(expected).expect("it is positive"));
}

#[tokio::test]
async fn a_schema_of_the_first_version_with_data_is_brought_up_to_date() {
    let schema = Schema::new();
    let name = schema.quoted();
    let admin = connect(&server_url()).await;
    let steps = [
        include_str!("../../src/store/postgres/migrations/0001_schema.sql"),
        include_str!("../../src/store/postgres/migrations/0002_functions.sql"),
    ];
    let first = format!(
        "BEGIN;
         CREATE SCHEMA {name};
         SET LOCAL search_path = pg_catalog, pg_temp;
         CREATE TABLE {name}.syncflow_migrations (
             step integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             taken_at timestamptz NOT NULL DEFAULT now()
         );
         {};
         INSERT INTO {name}.syncflow_migrations DEFAULT VALUES;
         INSERT INTO {name}.syncflow_migrations DEFAULT VALUES;
         COMMIT",
        steps.join(";\n").replace("{schema}", &name),
    );
    admin.batch_execute(&first).await.expect("the first version makes its schema");
    let commit = format!(
        r#"SELECT {name}.syncflow_commit('default', 1, 5, '{{op-1,op-2}}', '{{insert,delete}}', '{{todos,todos}}',
            '{{doc-1,doc-2}}', ARRAY['{{"ä":1}}', NULL], '{{1,2}}', '{{a,a}}', ARRAY['{{"a":1}}', '{{"a":2}}'], '{{1,2}}',
            '{{todos,todos}}', '{{doc-1,doc-2}}', '{{NULL,NULL}}', '{{1,1}}', '{{1,2}}', ARRAY['{{"ä":1}}', NULL],
            '{{NULL,NULL}}', '{{op-1,op-2}}', '{{a,a}}', '{{1,2}}', ARRAY['{{"a":1}}', '{{"a":2}}'])"#,
    );
    admin.batch_execute(&commit).await.expect("the first version commits");
    let world = world(&schema.options());
    assert_eq!((world.stats().await.operations, world.stats().await.documents), (2, 1));
    assert_eq!(steps_taken(&admin, &schema).await, 17);
    let page = world.page(None, 10).await;
    let document = page.entries.iter().find(|entry| entry.key.id.as_str() == "doc-1").expect("it is still there");
    assert_eq!(document.id.as_str(), "op-1");
    let known = world.push([insert("op-1", "doc-1")]).await;
    assert_eq!(known, [Outcome::Duplicate]);
    world.apply([insert("op-3", "doc-1").clock(&[("a", 3)]), delete("op-4", "doc-1").clock(&[("a", 4)])]).await;
    let (counted, expected) = bytes(&admin, &schema).await;
    assert_eq!(counted, expected);
    assert_eq!(world.compact(0).await, 4);
}

/// A role without rights of its own, which is dropped with the test.
pub(super) struct Role {
    pub(super) name: String,
    _clean_up: CleanUp,
}

impl Role {
    pub(super) async fn new(admin: &Client) -> Self {
        let name = unique_name();
        admin.batch_execute(&format!("CREATE ROLE {name} LOGIN PASSWORD '{name}'")).await.expect("a role can be made");
        let clean_up = CleanUp::new(&server_url(), format!("DROP OWNED BY {name}; DROP ROLE {name}"));
        Self { name, _clean_up: clean_up }
    }

    pub(super) fn connection_string(&self) -> String {
        format!("{} user={name} password={name}", key_values(&server_url()), name = self.name)
    }
}
