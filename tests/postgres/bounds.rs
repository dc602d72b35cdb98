//! The work that one request can cause, and the requests that must not wait for it.

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use syncflow_server::conformance::draft::{Draft, insert, update};
use syncflow_server::conformance::world::operations;
use syncflow_server::core::decide::Outcome;
use syncflow_server::service::Pushed;

use super::world;
use crate::support::postgres::{Schema, connect, server_url};

#[tokio::test]
async fn documents_of_many_keys_are_written_in_the_time_of_a_statement() {
    let schema = Schema::new();
    let world = world(&schema.options());
    let members: Vec<String> = (0..85_000).map(|number| format!("\"k{number:05}\":1")).collect();
    let data = format!("{{{}}}", members.join(","));
    let inserts: Vec<Draft> =
        (0..9).map(|number| insert(&format!("op-{number}"), &format!("doc-{number}")).data(&data)).collect();
    let outcomes = world.push(inserts).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied), "{outcomes:?}");
}

#[tokio::test]
async fn a_check_waits_for_no_request() {
    let schema = Schema::new();
    let mut options = schema.options();
    options.pool_size = 2;
    let world = world(&options);
    let other = world.as_tenant("other");
    for world in [&world, &other] {
        world.apply([insert("op-1", "doc")]).await;
    }
    let admin = connect(&server_url()).await;
    let lock = format!("BEGIN; SELECT FROM {}.syncflow_heads FOR UPDATE", schema.quoted());
    admin.batch_execute(&lock).await.expect("the head is locked");
    let both = [&world, &other];
    let pushes = both.map(|world| world.service.push(&world.tenant, operations([update("op-2", "doc")])));
    let mut pushes = join_all(pushes).boxed();
    assert!((&mut pushes).now_or_never().is_none());
    let check = world.store.check();
    let check = async { check.await.expect("the server is there") };
    tokio::select! {
        biased;
        early = &mut pushes => panic!("the head is locked, and yet {early:?}"),
        () = check => {}
    }
    admin.batch_execute("COMMIT").await.expect("the head is free");
    for answer in pushes.await {
        assert_eq!(answer.expect("the push is answered"), Pushed::Decided(vec![Outcome::Applied]));
    }
}
