//! Many tenants: pushes of one operation by tenants that take turns, the memory of idle ones, and their compaction.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::try_join_all;
use serde_json::json;
use syncflow_server::auth::sign_hs256;

use super::Bench;
use crate::Result;
use crate::client::Client;
use crate::database::Database;
use crate::load::{Load, Watch, drive};
use crate::meter;
use crate::options::StoreName;
use crate::report::{Goal, Measure, Memory};
use crate::server::Server;
use crate::work::{Share, Work, body};

/// The tenants that push in turns.
const PUSHING: usize = 1_000;

/// The greatest memory of a server with many idle tenants, in MB.
const IDLE_TENANTS_MAX_MB: f64 = 150.0;

/// The connections over which idle tenants make their only push.
const FILLING_CONNECTIONS: u64 = 64;

/// The secret that signs the tokens. It protects nothing.
const SECRET: &str = "a secret of the bench that protects nothing";

/// How long the tokens are valid, in seconds.
const TOKEN_SECONDS: u64 = 24 * 60 * 60;

/// A server with sign-in, and a token for each of some tenants.
struct Tenants {
    server: Server,
    tokens: Vec<String>,
    work: Work,
}

impl Tenants {
    fn start(database: &Database, tenants: usize) -> Result<Self> {
        let mut variables = database.variables();
        variables.push(("AUTH_HS256_SECRET", SECRET.to_owned()));
        variables.push(("AUTH_TENANT_CLAIM", "tenant".to_owned()));
        let expires = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + TOKEN_SECONDS;
        let token = |number| {
            let claims = json!({"sub": "bench", "role": "admin", "tenant": format!("tenant-{number}"), "exp": expires});
            sign_hs256(SECRET.as_bytes(), &claims)
        };
        Ok(Self {
            server: Server::start(&variables)?,
            tokens: (0..tenants).map(token).collect(),
            // A document for each connection, and more.
            work: Work::new(1_000, false),
        })
    }

    async fn clients(&self, connections: u64) -> Result<Vec<Client>> {
        try_join_all((0..connections).map(|_| Client::connect(&self.server.host, None))).await
    }

    /// Pushes of one operation. Each goes to the next of the first `tenants` tenants.
    async fn push(&self, connections: u64, tenants: usize, watch: Watch) -> Result<Load> {
        let mut clients: Vec<(Client, Share)> = Vec::new();
        for (client, connection) in self.clients(connections).await?.into_iter().zip(0..) {
            clients.push((client, Share { connection, connections }));
        }
        let turn = Cell::new(0);
        drive(&mut clients, watch, async |(client, share)| {
            let tenant = turn.replace(turn.get() + 1) % tenants;
            let body = body(&self.work.batch(*share, 1));
            client.push_as(&self.tokens[tenant], body).await?;
            Ok(Some(1))
        })
        .await
    }

    /// One push by each tenant.
    async fn push_once_each(&self, done: impl Fn()) -> Result<()> {
        let turn = Cell::new(0);
        let clients = self.clients(FILLING_CONNECTIONS).await?;
        let each = clients.into_iter().zip(0..).map(async |(mut client, connection)| {
            let share = Share { connection, connections: FILLING_CONNECTIONS };
            while let Some(token) = self.tokens.get(turn.replace(turn.get() + 1)) {
                client.push_as(token, body(&self.work.batch(share, 1))).await?;
                done();
            }
            Ok::<_, Box<dyn std::error::Error>>(())
        });
        try_join_all(each).await.map(drop)
    }
}

impl Bench<'_> {
    /// The measurements of many tenants, on databases of their own.
    pub(super) async fn tenants(&mut self) -> Result<()> {
        let tenants = Tenants::start(&self.databases.make().await?, PUSHING)?;
        for connections in [32, 256] {
            let name = format!("push of 1, {connections} connections, {PUSHING} tenants");
            self.begin(&name, u64::from(self.options.runs) * 2);
            let watch = self.watch(Some(&tenants.server));
            let one = async || self.measure(tenants.push(connections, 1, watch)).await;
            let many = async || self.measure(tenants.push(connections, PUSHING, watch)).await;
            let (one, many) = self.in_turns(one, many).await?;
            let goal = match (connections, self.store) {
                (256, StoreName::Sqlite) => Some(Goal::AtLeast(0.8)),
                (256, StoreName::Postgres) => Some(Goal::AtLeast(1.0)),
                _ => None,
            };
            self.add(name, &many, Some(("one tenant", &one)), Measure::Rows, goal);
        }
        self.note_peak(&tenants.server);
        drop(tenants);
        self.idle_tenants().await
    }

    /// The memory of a server to which many tenants have pushed once, and the compaction of all of them.
    async fn idle_tenants(&mut self) -> Result<()> {
        let count = self.options.idle_tenants();
        let tenants = Tenants::start(&self.databases.make().await?, count)?;
        self.begin("idle tenants", count as u64);
        tenants.push_once_each(|| self.progress.inc(1)).await?;
        let megabytes = meter::memory_mb(tenants.server.pid(), "VmRSS").ok_or("the server has ended")?;
        let goal = Goal::AtMost(IDLE_TENANTS_MAX_MB);
        self.report.memory.push(Memory {
            store: self.store.as_str(),
            name: "after a push by each tenant",
            megabytes,
            goal,
        });
        self.begin("compaction of idle tenants", count as u64);
        let watch = Watch { time: Duration::MAX, ..self.watch(Some(&tenants.server)) };
        let running = watch.start();
        let mut load = Load::default();
        let mut client = Client::connect(&tenants.server.host, None).await?;
        for token in &tenants.tokens {
            let began = Instant::now();
            client.compact_as(token).await?;
            load.add(1, began.elapsed());
            self.progress.inc(1);
        }
        running.stop(&mut load);
        let name = format!("compaction of {count} tenants with an operation each");
        self.add(name, &[crate::report::Sample::of(load)], None, Measure::Requests, None);
        Ok(())
    }
}
