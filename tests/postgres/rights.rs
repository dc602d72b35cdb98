//! Rights and tables of other roles: whether the page about PostgreSQL is right, and what the log says.

use syncflow_server::conformance::draft::insert;
use syncflow_server::store::postgres::PostgresOptions;

use super::world;
use crate::support::logs::Logs;
use crate::support::postgres::connect;
use crate::support::postgres_server::PostgresServer;

/// The SQL blocks in the page's section about rights.
fn blocks_of_page() -> Vec<&'static str> {
    let page = include_str!("../../docs/deploy/server.md");
    let section = page.split("### Rights\n").nth(1).and_then(|rest| rest.split("\n### ").next());
    let blocks = section.unwrap_or_default().split("```sql\n").skip(1);
    blocks.filter_map(|block| block.split("```").next()).filter(|block| block.contains("SCHEMA")).collect()
}

#[tokio::test]
async fn the_rights_that_the_page_gives_are_enough_for_fresh_roles() {
    let [first_start, afterwards, owns_nothing, no_longer_everybody] = blocks_of_page()[..] else {
        panic!("four blocks about rights")
    };
    let server = PostgresServer::start(&[]).await;
    let admin = connect(&server.url()).await;
    admin.batch_execute("CREATE ROLE syncflow LOGIN; CREATE ROLE syncflow_app LOGIN").await.expect("two roles");
    let options = |role: &str| PostgresOptions::new(&server.url().replace("postgres@", &format!("{role}@")));
    let error = world(&options("syncflow")).store.check().await.expect_err("it has no rights yet");
    assert!(error.to_string().contains("permission denied"), "{error}");

    admin.batch_execute(first_start).await.expect("the rights for the first start");
    world(&options("syncflow")).apply([insert("op-1", "doc-1")]).await;
    admin.batch_execute(afterwards).await.expect("the right that is no longer needed");
    world(&options("syncflow")).apply([insert("op-2", "doc-2")]).await;
    assert_eq!(world(&options("syncflow")).compact(0).await, 2);

    admin.batch_execute(owns_nothing).await.expect("the rights of a role that owns nothing");
    let app = world(&options("syncflow_app"));
    app.apply([insert("op-3", "doc-3")]).await;
    app.since("me", 0, 10).await;
    app.query(&[("n", "1")]).await;
    assert_eq!(app.stats().await.documents, 3);
    assert_eq!(app.compact(0).await, 1);

    admin.batch_execute(no_longer_everybody).await.expect("the right that nobody should have");
}

#[tokio::test]
async fn the_log_tells_of_tables_of_the_express_server_and_of_a_schema_where_everybody_may_create() {
    let server = PostgresServer::start(&[]).await;
    let admin = connect(&server.url()).await;
    let theirs =
        "CREATE TABLE public.operations (id text, \"timestamp\" bigint, client_id text, collection text, data jsonb);
                  GRANT CREATE ON SCHEMA public TO PUBLIC";
    admin.batch_execute(theirs).await.expect("the tables of the Express server");
    let logged = Logs::capture();
    world(&PostgresOptions::new(&server.url())).store.check().await.expect("it has a schema of its own");
    let text = logged.take();
    assert!(text.contains("ERROR") && text.contains("tables of the Express server"), "{text}");
    assert!(text.contains("public.operations") && text.contains("import-express"), "{text}");
    assert!(!text.contains("everybody may create"), "{text}");
    let in_public = PostgresOptions { schema: Some("public".to_owned()), ..PostgresOptions::new(&server.url()) };
    world(&in_public).store.check().await.expect("no name collides");
    let text = logged.take();
    assert!(text.contains(r#"REVOKE CREATE ON SCHEMA \"public\" FROM PUBLIC"#), "{text}");
}
