//! The memory that requests take together.
//!
//! Even if each request is bounded, many of them can fill a server. So there is one budget of bytes for the process.
//! Every request has an [`Account`] on it. The account grows with the body, and reserves room for the answer before the
//! work begins. It is given back when the answer is sent or the request ends in any other way.
//!
//! Memory that waits for a client must not block other requests. If a request does not fit, the server closes a
//! connection for it. It takes the one whose requests have held most memory for longest while waiting for their client.
//!
//! Reads reserve room for a whole page, so they share half of the budget while they work, and pushes do not wait for
//! them. A small part of the budget is for the work of pushes alone, because answers that nobody reads may fill the
//! rest of it. A push that is so small that its text needs no memory of the budget therefore waits for no reader at
//! all.

mod answer;
mod sending;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::future::{Either, select};
use futures_util::stream::try_unfold;
use http_body_util::BodyExt as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

pub(super) use self::answer::note_size;
use self::answer::{AnswerMemory, Reserved};
use self::sending::Sending;
use crate::api;
use crate::api::body::BodyOwner;
use crate::api::waiting::holdings::{Holding, Holdings, LastsLong};
use crate::limits::runtime::{
    PUSH_LANE_BYTES, READ_RESERVED_BYTES, REQUEST_FREE_BYTES, ROOM_HELD_MIN_MS, ROOM_PAUSE_MS, ROOM_WAIT_MAX_MS,
    SERVER_MAX_REQUESTS,
};

/// The unit in which memory is counted, in bytes.
const UNIT_BYTES: usize = 1024;

/// How many units a request with so many bytes takes of the budget.
fn units_of(bytes: usize) -> usize {
    bytes.saturating_sub(REQUEST_FREE_BYTES).div_ceil(UNIT_BYTES)
}

/// No memory became free in time.
#[derive(Debug, thiserror::Error)]
#[error("the requests in flight leave no room for this one")]
pub(super) struct NoRoom;

/// The thing that a request waits for.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// One of the places for requests.
    Place,
    /// So many units of memory.
    Units(usize),
}

/// Closes a connection at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Cut(Arc<Notify>);

impl Cut {
    /// Completes when the connection must be closed.
    #[cfg(feature = "local")]
    pub(super) async fn happens(&self) {
        self.0.notified().await;
    }
}

/// The budget of the process.
#[derive(Debug)]
pub(super) struct Memory {
    units: Semaphore,
    /// The part that only the work of pushes may take, if there is nothing else.
    pushes: Arc<Semaphore>,
    /// The part of the units that reads at work may have reserved.
    reads: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    /// When room was last made, by closing connections, for requests that wait for a place.
    made_place_at: Mutex<Option<Instant>>,
    /// The same for requests that wait for memory.
    made_room_at: Mutex<Option<Instant>>,
    accounts: Mutex<HashMap<u64, Weak<Account>>>,
    next_account: AtomicU64,
}

impl Memory {
    pub(super) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            units: Semaphore::new(max_bytes.saturating_sub(PUSH_LANE_BYTES) / UNIT_BYTES),
            pushes: Arc::new(Semaphore::new(PUSH_LANE_BYTES / UNIT_BYTES)),
            reads: Arc::new(Semaphore::new((max_bytes / 2).max(READ_RESERVED_BYTES) / UNIT_BYTES)),
            made_place_at: Mutex::default(),
            made_room_at: Mutex::default(),
            requests: Arc::new(Semaphore::new(SERVER_MAX_REQUESTS)),
            accounts: Mutex::default(),
            next_account: AtomicU64::new(0),
        })
    }

    /// How much memory the requests hold, in bytes.
    #[cfg(feature = "local")]
    pub(super) fn held_bytes(&self) -> usize {
        // The accounts are dropped when they are not locked any more, because an account locks them when it ends.
        let accounts: Vec<_> = self.accounts().values().filter_map(Weak::upgrade).collect();
        let held_bytes: usize = accounts.iter().map(|account| account.held().bytes).sum();
        held_bytes + (PUSH_LANE_BYTES / UNIT_BYTES - self.pushes.available_permits()) * UNIT_BYTES
    }

    /// How many requests are being served.
    #[cfg(feature = "local")]
    pub(super) fn requests_in_flight(&self) -> usize {
        SERVER_MAX_REQUESTS.saturating_sub(self.requests.available_permits())
    }

    /// Opens an account for another request.
    async fn open(self: &Arc<Self>, cut: Option<Cut>, reserved: Reserved) -> Result<Arc<Account>, NoRoom> {
        let place = self.take_place().await?;
        let number = self.next_account.fetch_add(1, Ordering::Relaxed);
        let held = Held { bytes: 0, units: 0, with_client_since: Some(Instant::now()), is_short: false };
        let account = Arc::new(Account {
            memory: Arc::clone(self),
            number,
            cut: Mutex::new(cut),
            reserved,
            share: Mutex::default(),
            held: Mutex::new(held),
            place: Mutex::new(Some(place)),
        });
        self.accounts().insert(number, Arc::downgrade(&account));
        Ok(account)
    }

    async fn take_place(&self) -> Result<OwnedSemaphorePermit, NoRoom> {
        match Arc::clone(&self.requests).try_acquire_owned() {
            Ok(place) => Ok(place),
            Err(_) => self.wait(Wanted::Place, Arc::clone(&self.requests).acquire_owned()).await,
        }
    }

    async fn acquire(&self, units: usize) -> Result<(), NoRoom> {
        let Ok(permits) = u32::try_from(units) else { return Err(NoRoom) };
        let permit = match self.units.try_acquire_many(permits) {
            Ok(permit) => permit,
            Err(_) => self.wait(Wanted::Units(units), self.units.acquire_many(permits)).await?,
        };
        permit.forget();
        Ok(())
    }

    /// Takes memory for the work of a push. If it is from the part that only pushes have, it is given back when the
    /// result is dropped.
    async fn acquire_for_push(&self, units: u32) -> Result<Option<OwnedSemaphorePermit>, NoRoom> {
        if let Ok(permit) = self.units.try_acquire_many(units) {
            permit.forget();
            return Ok(None);
        }
        if let Ok(share) = Arc::clone(&self.pushes).try_acquire_many_owned(units) {
            return Ok(Some(share));
        }
        let either = async {
            let share = pin!(Arc::clone(&self.pushes).acquire_many_owned(units));
            let permit = pin!(self.units.acquire_many(units));
            match select(share, permit).await {
                Either::Left((share, _)) => share.map(Some),
                Either::Right((permit, _)) => permit.map(|permit| {
                    permit.forget();
                    None
                }),
            }
        };
        self.wait(Wanted::Units(units as usize), either).await
    }

    /// Waits for what is wanted for a short time, and closes connections meanwhile to free it.
    async fn wait<T, E>(&self, wanted: Wanted, place: impl Future<Output = Result<T, E>>) -> Result<T, NoRoom> {
        let mut place = pin!(place);
        let pause = Duration::from_millis(ROOM_PAUSE_MS);
        for _ in 0..ROOM_WAIT_MAX_MS / ROOM_PAUSE_MS {
            match timeout(pause, place.as_mut()).await {
                Ok(place) => return place.map_err(|_| NoRoom),
                Err(_) => self.make_room(wanted),
            }
        }
        Err(NoRoom)
    }

    /// Closes the connections of the requests that have held most for longest while they wait for their clients. It
    /// stops when the request that wants room has it. However many want the same, this is done only once in a pause, so
    /// that what was freed can be seen first.
    fn make_room(&self, wanted: Wanted) {
        let now = Instant::now();
        let (made_at, mut missing) = match wanted {
            Wanted::Place => (&self.made_place_at, 0),
            Wanted::Units(units) => (&self.made_room_at, units),
        };
        {
            let mut made_at = made_at.lock().unwrap_or_else(PoisonError::into_inner);
            let pause = Duration::from_millis(ROOM_PAUSE_MS);
            if made_at.is_some_and(|before| now.saturating_duration_since(before) < pause) {
                return;
            }
            *made_at = Some(now);
        }
        let accounts: Vec<_> = self.accounts().values().filter_map(Weak::upgrade).collect();
        let is_for_memory = matches!(wanted, Wanted::Units(_));
        let weighed = accounts.iter().filter_map(|account| Some((account.weight(now, is_for_memory)?, account)));
        let mut weighed: Vec<_> = weighed.collect();
        weighed.sort_unstable_by_key(|(weight, _)| Reverse(*weight));
        for (_, account) in weighed {
            missing = missing.saturating_sub(account.cut());
            if missing == 0 {
                break;
            }
        }
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<u64, Weak<Account>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory that one request holds.
#[derive(Debug)]
pub(super) struct Account {
    memory: Arc<Memory>,
    number: u64,
    /// Closes the connection. `None` if that was done, or is not possible.
    cut: Mutex<Option<Cut>>,
    reserved: Reserved,
    /// The share of the reads or of the pushes that this one has while it works. A push also has it until its small
    /// answer is sent.
    share: Mutex<Option<OwnedSemaphorePermit>>,
    held: Mutex<Held>,
    /// The place among the requests. A request that waits for changes has none.
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

#[derive(Debug)]
struct Held {
    bytes: usize,
    units: usize,
    /// Since when the server has been waiting for the client to send its request or to read the answer.
    with_client_since: Option<Instant>,
    is_short: bool,
}

impl Account {
    /// Takes more memory, perhaps after a short time.
    pub(super) async fn take(&self, bytes: usize) -> Result<(), NoRoom> {
        let missing = {
            let mut held = self.held();
            held.bytes += bytes;
            let missing = units_of(held.bytes).saturating_sub(held.units);
            if missing > 0 && u32::try_from(missing).is_ok_and(|missing| self.try_take(missing)) {
                held.units += missing;
                return Ok(());
            }
            missing
        };
        if missing == 0 {
            return Ok(());
        }
        // The client is not involved in this.
        let with_client_since = self.held().with_client_since.take();
        let taken = self.memory.acquire(missing).await;
        let mut held = self.held();
        held.with_client_since = with_client_since;
        match taken {
            Ok(()) => held.units += missing,
            Err(NoRoom) => {
                held.bytes -= bytes;
                held.is_short = true;
            }
        }
        taken
    }

    fn try_take(&self, units: u32) -> bool {
        self.memory.units.try_acquire_many(units).map(tokio::sync::SemaphorePermit::forget).is_ok()
    }

    /// Takes memory until the result is dropped.
    pub(super) async fn lend(self: &Arc<Self>, bytes: usize) -> Result<Loan, NoRoom> {
        self.take(bytes).await?;
        Ok(Loan { account: Arc::clone(self), bytes })
    }

    /// Called when the client has sent its request and the work begins.
    async fn begin_work(&self) -> Result<(), NoRoom> {
        self.held().with_client_since = None;
        let units = u32::try_from(self.reserved.bytes / UNIT_BYTES).map_err(|_| NoRoom)?;
        if !self.reserved.is_for_read {
            let share = self.memory.acquire_for_push(units).await.inspect_err(|NoRoom| self.held().is_short = true)?;
            if share.is_none() {
                let mut held = self.held();
                held.bytes += self.reserved.bytes;
                held.units += self.reserved.bytes / UNIT_BYTES;
            }
            *self.share() = share;
            return Ok(());
        }
        let reads = Arc::clone(&self.memory.reads);
        let share = timeout(Duration::from_millis(ROOM_WAIT_MAX_MS), reads.acquire_many_owned(units)).await;
        let Ok(Ok(share)) = share else {
            self.held().is_short = true;
            return Err(NoRoom);
        };
        *self.share() = Some(share);
        self.take(self.reserved.bytes).await
    }

    fn share(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called when the answer must be sent. From then on only its memory is held.
    async fn begin_answer(&self, AnswerMemory { bytes, is_small }: AnswerMemory) -> Result<(), NoRoom> {
        if is_small && !self.reserved.is_for_read && self.share().is_some() {
            // The part of the pushes covers the compressor, too. So a push waits for no reader after its commit either.
            self.held().with_client_since = Some(Instant::now());
            return Ok(());
        }
        *self.share() = None;
        let held_bytes = {
            let mut held = self.held();
            held.with_client_since = Some(Instant::now());
            held.bytes
        };
        match bytes.checked_sub(held_bytes) {
            Some(missing) => self.take(missing).await,
            None => {
                self.give_back(held_bytes - bytes);
                Ok(())
            }
        }
    }

    fn give_back(&self, bytes: usize) {
        let mut held = self.held();
        held.bytes = held.bytes.saturating_sub(bytes);
        let units = units_of(held.bytes);
        let free = held.units.saturating_sub(units);
        held.units -= free;
        self.memory.units.add_permits(free);
    }

    fn is_short(&self) -> bool {
        self.held().is_short
    }

    /// How much memory was held for how long while the server waited for the client. `None` if that was not long, or if
    /// the connection cannot be closed.
    ///
    /// A request that holds no memory is not closed for memory.
    fn weight(&self, now: Instant, is_for_memory: bool) -> Option<u128> {
        if self.cut.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return None;
        }
        let has_share = self.share().is_some();
        let held = self.held();
        let time = now.saturating_duration_since(held.with_client_since?);
        let is_long = time >= Duration::from_millis(ROOM_HELD_MIN_MS);
        let is_useful = held.units > 0 || has_share || !is_for_memory;
        (is_long && is_useful).then(|| (held.units as u128 + 1) * time.as_millis())
    }

    /// Closes the connection, if that is possible and was not done. Returns the units that this frees.
    fn cut(&self) -> usize {
        let Some(cut) = self.cut.lock().unwrap_or_else(PoisonError::into_inner).take() else { return 0 };
        let (bytes, units) = {
            let held = self.held();
            (held.bytes, held.units)
        };
        tracing::warn!(memory.held_bytes = bytes, "a connection that waits for its client makes room for others");
        cut.0.notify_one();
        units
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Holdings for Account {
    fn give_back(&self) {
        *self.share() = None;
        let bytes = self.held().bytes;
        self.give_back(bytes);
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn take_again(&self) -> bool {
        let Ok(place) = self.memory.take_place().await else { return false };
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        self.begin_work().await.is_ok()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.memory.accounts().remove(&self.number);
        let units = self.held().units;
        self.memory.units.add_permits(units);
    }
}

/// Memory that is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Loan {
    account: Arc<Account>,
    bytes: usize,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

/// Counts the memory of a request and its answer. A request without room is answered with 503.
///
/// `wait_max` is how long a request may wait for changes. It has no share of the memory meanwhile.
pub(super) async fn within_memory(
    State((memory, wait_max)): State<(Arc<Memory>, Duration)>,
    mut request: Request,
    next: Next,
) -> Response {
    if api::PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let cut = request.extensions().get().cloned();
    let Ok(account) = memory.open(cut, Reserved::of(&request)).await else { return refused() };
    request.extensions_mut().insert(Arc::clone(&account));
    request.extensions_mut().insert(BodyOwner::new(Arc::clone(&account) as _));
    request.extensions_mut().insert(Holding::new(Arc::clone(&account) as _, wait_max));
    let request = if request.body().is_end_stream() {
        if account.begin_work().await.is_err() {
            return refused();
        }
        request
    } else {
        let account = Arc::clone(&account);
        request.map(|body| counted(body, account))
    };
    let mut response = next.run(request).await;
    if account.is_short() {
        return refused();
    }
    if response.extensions().get::<LastsLong>().is_some() {
        return response;
    }
    let memory = AnswerMemory::take(&mut response);
    if account.begin_answer(memory).await.is_err() {
        return refused();
    }
    response.map(|body| Body::new(Sending { body, account: Some(account as _) }))
}

fn refused() -> Response {
    api::unavailable(NoRoom.to_string())
}

/// The same body, which is counted while it arrives. At its end the work begins.
fn counted(body: Body, account: Arc<Account>) -> Body {
    Body::from_stream(try_unfold((body, account), async |(mut body, account): (Body, Arc<Account>)| {
        loop {
            let Some(frame) = body.frame().await else {
                account.begin_work().await.map_err(axum::Error::new)?;
                return Ok::<_, axum::Error>(None);
            };
            if let Ok(data) = frame?.into_data() {
                account.take(data.len()).await.map_err(axum::Error::new)?;
                return Ok(Some((data, (body, account))));
            }
        }
    }))
}
