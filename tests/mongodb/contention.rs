//! Many writers on few documents through several server processes, while the database is killed and restarts.

use std::time::Duration;

use syncflow_server::store::mongodb::MongoOptions;

use crate::support::crowd::{seconds, write_while};
use crate::support::mongo_server::MongoServer;
use crate::support::random::seeded;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_four_processes_lose_and_overwrite_nothing_while_the_database_is_killed_twice() {
    let mut random = seeded();
    let mut server = MongoServer::start().await;
    let uri = server.uri();
    let world = || super::world(&MongoOptions::new(&uri));
    write_while(&[("MONGO_URI", &uri)], world, &mut random, async || {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(seconds()) / 3).await;
            server.kill();
            server.start_again().await;
        }
        tokio::time::sleep(Duration::from_secs(seconds()) / 3).await;
    })
    .await;
}
