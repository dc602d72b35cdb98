//! Many writers on few documents through several server processes, while the database loses connections and restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use syncflow_server::store::postgres::PostgresOptions;

use crate::support::crowd::{WRITERS, seconds, write_while};
use crate::support::postgres_server::PostgresServer;
use crate::support::random::seeded;

/// Ends some connections of the server processes from time to time.
async fn end_connections(url: String, mut random: Rng, is_over: Arc<AtomicBool>) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = 'syncflow-server' ORDER BY random() LIMIT 3";
    while !is_over.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(random.u64(20..200))).await;
        // While the server restarts there are no connections to end.
        let Ok((client, connection)) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await else { continue };
        let connection = tokio::spawn(connection);
        let _ = client.query(sql, &[]).await;
        connection.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_four_processes_lose_and_overwrite_nothing_while_the_database_falters() {
    let mut random = seeded();
    let mut server = PostgresServer::start(&[]).await;
    let url = server.url();
    let is_over = Arc::new(AtomicBool::new(false));
    let ending = tokio::spawn(end_connections(url.clone(), random.fork(), Arc::clone(&is_over)));
    let world = || super::world(&PostgresOptions::new(&url));
    write_while(WRITERS, &[("POSTGRES_CONNECTION_STRING", &url)], world, &mut random, async || {
        for signal in ["INT", "QUIT"] {
            tokio::time::sleep(Duration::from_secs(seconds()) / 3).await;
            server.stop(signal);
            server.start_again().await;
        }
        tokio::time::sleep(Duration::from_secs(seconds()) / 3).await;
        is_over.store(true, Ordering::SeqCst);
        ending.await.expect("it ends well");
    })
    .await;
}
