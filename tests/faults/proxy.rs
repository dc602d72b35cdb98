//! A TCP proxy that disturbs its connections. Its mood says how.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How a proxy treats the data that pass through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// It passes everything on.
    Calm,
    /// It delays data.
    Slow,
    /// From time to time it passes on the first half of a piece of data and breaks the connection.
    Cutting,
    /// From time to time it drops an answer and breaks the connection.
    Grudging,
    /// It passes nothing on, and leaves connections open.
    Silent,
    /// It collects answers until there is much of them.
    Buffering,
}

impl Mood {
    pub(super) const BAD: [Self; 4] = [Self::Slow, Self::Cutting, Self::Grudging, Self::Silent];
}

/// The longest delay of a slow proxy, in milliseconds.
const SLOW_MAX_MS: u64 = 150;

/// How much a buffering proxy collects, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// A connection is broken at one in this many pieces.
const PIECES_TO_A_BREAK: u32 = 6;

/// The disturbances that proxies caused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mischief {
    /// Connections that were cut in the middle of a piece.
    pub(super) cuts: u64,
    /// Answers that were dropped.
    pub(super) lost_answers: u64,
}

/// The proxy. Its connections end when it is dropped.
pub(super) struct Proxy {
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    mood: Mutex<Mood>,
    random: Mutex<fastrand::Rng>,
    cuts: AtomicU64,
    lost_answers: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn mood(&self) -> Mood {
        *lock(&self.mood)
    }

    fn below(&self, count: u64) -> u64 {
        lock(&self.random).u64(..count)
    }

    fn breaks_here(&self) -> bool {
        self.below(PIECES_TO_A_BREAK.into()) == 0
    }
}

impl Proxy {
    /// Starts a calm proxy before a port of this machine.
    pub(super) async fn before(port: u16, random: fastrand::Rng) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own_port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State {
            mood: Mutex::new(Mood::Calm),
            random: Mutex::new(random),
            cuts: AtomicU64::new(0),
            lost_answers: AtomicU64::new(0),
        });
        let task = tokio::spawn(serve(listener, port, Arc::clone(&state)));
        Self { port: own_port, state, task }
    }

    /// The proxy's own port on 127.0.0.1.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        *lock(&self.state.mood) = mood;
    }

    pub(super) fn mischief(&self) -> Mischief {
        Mischief {
            cuts: self.state.cuts.load(Ordering::Relaxed),
            lost_answers: self.state.lost_answers.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, port: u16, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        connections.spawn(carry(client, port, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

/// Carries data in both directions until either connection ends. Then both are closed.
async fn carry(client: TcpStream, port: u16, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = hand_on(from_client, to_server, &state, Direction::ToServer) => {}
        () = hand_on(from_server, to_client, &state, Direction::ToClient) => {}
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

async fn hand_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State, direction: Direction) {
    let mut piece = vec![0; 16 * 1024];
    let mut held = Vec::new();
    loop {
        let Ok(bytes @ 1..) = from.read(&mut piece).await else { return };
        match state.mood() {
            Mood::Cutting if state.breaks_here() => {
                state.cuts.fetch_add(1, Ordering::Relaxed);
                // The receiver of the half may be gone already.
                let _ = to.write_all(&piece[..bytes / 2]).await;
                return;
            }
            Mood::Grudging if direction == Direction::ToClient && state.breaks_here() => {
                state.lost_answers.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Mood::Slow => tokio::time::sleep(Duration::from_millis(state.below(SLOW_MAX_MS))).await,
            Mood::Silent => continue,
            Mood::Buffering if direction == Direction::ToClient => {
                held.extend_from_slice(&piece[..bytes]);
                if held.len() < BUFFER_BYTES {
                    continue;
                }
                if to.write_all(&std::mem::take(&mut held)).await.is_err() {
                    return;
                }
                continue;
            }
            Mood::Calm | Mood::Cutting | Mood::Grudging | Mood::Buffering => {}
        }
        if to.write_all(&piece[..bytes]).await.is_err() {
            return;
        }
    }
}
