//! Many writers on few documents through several server processes, while the database is killed and restarts.

use std::time::Duration;

use syncflow_server::store::mongodb::MongoOptions;

use crate::support::crowd::{WRITERS, seconds, write_while};
use crate::support::mongo::Database;
use crate::support::mongo_server::MongoServer;
use crate::support::random::seeded;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_four_processes_lose_and_overwrite_nothing_while_the_database_is_killed_twice() {
    let mut random = seeded();
    let mut server = MongoServer::start().await;
    let uri = server.uri();
    let world = || super::world(&MongoOptions::new(&uri));
    write_while(WRITERS, &[("MONGO_URI", &uri)], world, &mut random, async || {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(seconds()) / 3).await;
            server.kill();
            server.start_again().await;
        }
        tokio::time::sleep(Duration::from_secs(seconds()) / 3).await;
    })
    .await;
}

/// Prints both durations, so that they can be compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_four_processes_get_on_however_many_they_are() {
    let mut random = seeded();
    for writers in [4, WRITERS] {
        let database = Database::new();
        let options = database.options();
        let settings = [("MONGO_URI", options.uri.as_str()), ("MONGO_DB_NAME", database.name())];
        let pause = Duration::from_secs(seconds()) / 2;
        write_while(writers, &settings, || super::world(&options), &mut random, || tokio::time::sleep(pause)).await;
    }
}
