//! Functions, operators and types of other roles are never used in place of PostgreSQL's own.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::{delete, insert, inserts, update};
use syncflow_server::core::cursor::{Cursor, Position};
use syncflow_server::core::numbers::Seq;
use syncflow_server::store::postgres::{Peer, PostgresOptions};
use tokio_postgres::Client;

use super::world;
use crate::support::postgres::connect;
use crate::support::postgres_server::PostgresServer;

/// Types of arguments in our statements, and similar ones.
const TYPES: [&str; 7] = ["text", "bigint", "integer", "boolean", "jsonb", "text[]", "bigint[]"];

const OPERATORS: [&str; 14] = ["=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "||", "&", "<<", "@>", "->"];

/// All names in our SQL before an opening parenthesis.
fn names_called() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut paths = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/postgres"))];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let source = std::fs::read_to_string(path).expect("a text");
        for (place, _) in source.match_indices('(') {
            let before = &source[..place];
            let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
            // Longer ones are names of tests.
            if name.len() < 64 {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// Creates functions, operators and types in a schema. Each makes the statement that uses it fail.
async fn plant(attacker: &Client, schema: &str) {
    let names: Vec<String> = names_called().into_iter().collect();
    let known = "SELECT DISTINCT p.proname::text, least(p.pronargs, 3)::int
                 FROM pg_proc AS p
                 WHERE p.proname = ANY ($1) AND p.pronamespace = 'pg_catalog'::regnamespace";
    let found = attacker.query(known, &[&names]).await.expect("functions are listed");
    assert!(found.len() > 15, "our SQL calls more functions than {found:?}");
    let mut sql = String::new();
    let add = |sql: &mut String, statement: &str| writeln!(sql, "{statement}").expect("a string takes everything");
    for row in &found {
        let (name, arguments): (String, i32) = (row.get(0), row.get(1));
        for number in 0..TYPES.len().pow(u32::try_from(arguments.min(2)).expect("small")) {
            let kinds: Vec<&str> = match arguments {
                0 => Vec::new(),
                1 => vec![TYPES[number]],
                2 => vec![TYPES[number % TYPES.len()], TYPES[number / TYPES.len()]],
                _ => vec![TYPES[number % TYPES.len()], TYPES[number / TYPES.len()], "boolean"],
            };
            let kinds = kinds.join(", ");
            add(
                &mut sql,
                &format!(
                    "CREATE FUNCTION {schema}.{name}({kinds}) RETURNS bigint LANGUAGE plpgsql AS \
                     $$ BEGIN RAISE EXCEPTION 'hijacked by {name}'; END $$;"
                ),
            );
        }
    }
    for left in TYPES {
        for right in TYPES {
            add(
                &mut sql,
                &format!(
                    "CREATE FUNCTION {schema}.evil({left}, {right}) RETURNS boolean LANGUAGE plpgsql AS \
                     $$ BEGIN RAISE EXCEPTION 'hijacked by an operator'; END $$;"
                ),
            );
            for operator in OPERATORS {
                add(
                    &mut sql,
                    &format!(
                        "CREATE OPERATOR {schema}.{operator} \
                         (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = {schema}.evil);"
                    ),
                );
            }
        }
    }
    for kind in ["text", "jsonb", "timestamptz", "name", "oid"] {
        add(&mut sql, &format!("CREATE DOMAIN {schema}.{kind} AS boolean CHECK (false);"));
    }
    attacker.batch_execute(&sql).await.expect("everybody may create there");
}

/// Calls every method of a store.
async fn use_everything(world: &World) {
    world.store.check().await.expect("the store is there");
    world.apply(inserts(20)).await;
    // There are enough requests for statements to be prepared.
    for number in 0..40 {
        let id = format!("again-{number}");
        world.apply([update(&id, "doc-1").data(r#"{"n":1}"#), insert(&format!("{id}-new"), &id)]).await;
        assert!(!world.changes(Some(Cursor::BEGINNING), 1_000).await.entries.is_empty());
    }
    world.apply([delete("gone", "doc-2")]).await;
    world.push([insert("gone", "doc-2")]).await;
    world.page(None, 10).await;
    let state = Cursor::State { after: Position::START, tombstones_after: Seq::START };
    world.changes(Some(state), 10).await;
    world.since("me", 0, 10).await;
    world.since_of_nobody(0, 10).await;
    assert_eq!(world.query(&[("n", "1")]).await.len(), 1);
    assert_eq!(world.query(&[("_id", "\"doc-1\""), ("_rev", "41")]).await.len(), 1);
    assert!(world.document("doc-1").await.is_some());
    assert!(world.stats().await.documents > 20);
    assert!(!world.service.clients(&world.tenant, None, 10).await.expect("clients are listed").is_empty());
    assert!(!world.store.tenants(None, 10).await.expect("tenants are listed").is_empty());
    assert!(world.compact(0).await > 20);
    world.since_of_nobody(0, 10).await;
}

/// A server on which all roles may create objects in `public`, as on PostgreSQL 13 and 14.
async fn generous_server() -> (PostgresServer, Client) {
    let server = PostgresServer::start(&[]).await;
    let admin = connect(&server.url()).await;
    let sql = "GRANT CREATE ON SCHEMA public TO PUBLIC;
               CREATE ROLE attacker LOGIN;
               CREATE ROLE victim LOGIN;
               GRANT CREATE ON DATABASE postgres TO victim";
    admin.batch_execute(sql).await.expect("roles can be made");
    (server, admin)
}

fn as_role(server: &PostgresServer, role: &str) -> String {
    server.url().replace("postgres@", &format!("{role}@"))
}

#[tokio::test]
async fn nothing_that_another_role_made_is_run_by_the_server() {
    let (server, admin) = generous_server().await;
    let attacker = connect(&as_role(&server, "attacker")).await;
    plant(&attacker, "public").await;
    // The schema comes before PostgreSQL's own, because no statement may depend on the search path.
    admin.batch_execute("ALTER ROLE victim SET search_path = public, pg_catalog").await.expect("it is set");
    for schema in [None, Some("public".to_owned())] {
        // A store behind a pooler sends no settings.
        for peer in [Peer::Pooler, Peer::Server] {
            let options = PostgresOptions::new(&as_role(&server, "victim"));
            let world = world(&PostgresOptions { schema: schema.clone(), peer, pool_size: 1, ..options });
            use_everything(&world.as_tenant(&format!("{schema:?}-{peer:?}"))).await;
        }
    }
    admin.batch_execute("GRANT USAGE, CREATE ON SCHEMA syncflow TO attacker").await.expect("it is granted");
    plant(&attacker, "syncflow").await;
    let options = PostgresOptions {
        pool_size: 1,
        schema: Some("syncflow".to_owned()),
        ..PostgresOptions::new(&as_role(&server, "victim"))
    };
    use_everything(&world(&options).as_tenant("last")).await;
}

#[tokio::test]
async fn a_schema_that_another_role_made_is_used_only_if_it_is_set() {
    let (server, admin) = generous_server().await;
    admin.batch_execute("GRANT CREATE ON DATABASE postgres TO attacker").await.expect("it is granted");
    let attacker = connect(&as_role(&server, "attacker")).await;
    attacker
        .batch_execute("CREATE SCHEMA syncflow; GRANT USAGE, CREATE ON SCHEMA syncflow TO victim")
        .await
        .expect("it may make schemas");
    let options = PostgresOptions { pool_size: 1, ..PostgresOptions::new(&as_role(&server, "victim")) };
    let error = world(&options).store.check().await.expect_err("the schema is a trap");
    assert!(error.to_string().contains("the schema syncflow belongs to another role"), "{error}");
    // With tables in it, the schema looks even more like our own.
    let theirs = world(&PostgresOptions::new(&as_role(&server, "attacker")));
    theirs.apply([insert("op-1", "doc-1")]).await;
    let error = world(&options).store.check().await.expect_err("the tables are a trap");
    assert!(error.to_string().contains("the schema syncflow belongs to another role"), "{error}");
    let tables = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA syncflow TO victim";
    attacker.batch_execute(tables).await.expect("it owns them");
    let given = PostgresOptions { schema: Some("syncflow".to_owned()), ..options };
    world(&given).apply([insert("op-2", "doc-2")]).await;
}

#[tokio::test]
async fn functions_of_an_earlier_version_get_a_safe_search_path() {
    let (server, admin) = generous_server().await;
    let options = PostgresOptions::new(&as_role(&server, "victim"));
    world(&options).apply([insert("op-1", "doc-1")]).await;
    let before = "DO $$ DECLARE f regprocedure; BEGIN
                      FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'syncflow'::regnamespace
                          AND (proname IN ('syncflow_commit_resolved', 'syncflow_commit_known')
                              OR proname = 'syncflow_commit' AND pronargs IN (24, 30, 36))
                      LOOP EXECUTE 'DROP FUNCTION ' || f; END LOOP;
                  END $$;
                  DROP FUNCTION syncflow.syncflow_usage, syncflow.syncflow_feed, syncflow.syncflow_load_owners;
                  DROP FUNCTION syncflow.syncflow_owner, syncflow.syncflow_subject, syncflow.syncflow_claim;
                  DROP FUNCTION syncflow.syncflow_load_places;
                  DROP FUNCTION syncflow.syncflow_learn, syncflow.syncflow_scrub, syncflow.syncflow_erase;
                  DROP FUNCTION syncflow.syncflow_clients_after, syncflow.syncflow_load_all;
                  DROP FUNCTION syncflow.syncflow_aged_place, syncflow.syncflow_expire;
                  DROP FUNCTION syncflow.syncflow_count_expired;
                  ALTER TABLE syncflow.syncflow_fingerprints DROP COLUMN id, DROP COLUMN received_at_ms;
                  ALTER TABLE syncflow.syncflow_heads DROP COLUMN floor, DROP COLUMN floor_fingerprint;
                  ALTER TABLE syncflow.syncflow_heads DROP COLUMN tombstones_gone;
                  DROP TABLE syncflow.syncflow_owners;
                  ALTER TABLE syncflow.syncflow_operations DROP COLUMN subject;
                  DROP INDEX syncflow.syncflow_documents_deleted_of_collection;
                  DROP TABLE syncflow.syncflow_former_labels;
                  DROP TABLE syncflow.syncflow_stamps;
                  ALTER TABLE syncflow.syncflow_documents DROP COLUMN stamps;
                  ALTER TABLE syncflow.syncflow_operations DROP COLUMN kept;
                  ALTER TABLE syncflow.syncflow_heads DROP COLUMN bytes;
                  DROP FUNCTION syncflow.syncflow_load(text, text[], text[], text[], bigint);
                  DROP FUNCTION syncflow.syncflow_forget_some_clients;
                  DROP INDEX syncflow.syncflow_documents_live_by_seq, syncflow.syncflow_documents_deleted_by_seq;
                  ALTER FUNCTION syncflow.syncflow_load SET search_path = syncflow, pg_temp;
                  DROP FUNCTION syncflow.syncflow_forget_clients, syncflow.syncflow_end_the_future;
                  DROP FUNCTION syncflow.syncflow_compact(text, bigint, bigint, bigint, bigint, bigint);
                  DELETE FROM syncflow.syncflow_migrations WHERE step >= 3";
    admin.batch_execute(before).await.expect("it is as it was before");
    world(&options).apply([insert("op-2", "doc-2")]).await;
    let sql = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'syncflow'::regnamespace
               AND 'search_path=pg_catalog, pg_temp' = ANY (proconfig)";
    let safe: i64 = admin.query_one(sql, &[]).await.expect("they are counted").get(0);
    assert_eq!(safe, 31);
}

#[tokio::test]
async fn tables_that_another_role_made_in_advance_are_not_taken_for_ours() {
    let (server, _admin) = generous_server().await;
    let attacker = connect(&as_role(&server, "attacker")).await;
    let trap =
        "CREATE TABLE public.syncflow_migrations (step integer GENERATED ALWAYS AS IDENTITY, taken_at timestamptz);
                GRANT ALL ON public.syncflow_migrations TO PUBLIC";
    attacker.batch_execute(trap).await.expect("everybody may create there");
    let options = PostgresOptions::new(&as_role(&server, "victim"));
    for schema in [None, Some("public".to_owned())] {
        let store = world(&PostgresOptions { schema, ..options.clone() }).store;
        let error = store.check().await.expect_err("they are not ours");
        assert!(error.to_string().contains("belongs to the role attacker"), "{error}");
    }
}

#[tokio::test]
async fn tables_of_an_earlier_version_in_public_go_on_being_used() {
    let (server, admin) = generous_server().await;
    let options = PostgresOptions::new(&as_role(&server, "victim"));
    let before = PostgresOptions { schema: Some("public".to_owned()), ..options.clone() };
    world(&before).apply([insert("op-1", "doc-1")]).await;
    assert_eq!(world(&options).stats().await.operations, 1);
    let sql = "SELECT to_regnamespace('syncflow') IS NULL";
    assert!(admin.query_one(sql, &[]).await.expect("the server knows").get::<_, bool>(0));
}
