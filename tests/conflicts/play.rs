//! One play: users, their devices and a server under a seeded scheduler, with accidents between any two steps.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use fastrand::Rng;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use serde_json::Value;
use syncflow_server::limits::protocol::{CLIENT_FORGOTTEN_AFTER_MS, INTEGER_MAX};

use super::cursor::CursorClient;
use super::original::{Database, Tab};
use super::rule::Setting;
use super::server::Server;
use super::wire::{Bases, Data, Kind, Op};
use crate::simulation::scheduler::{self, Step};

const DOCUMENTS: [&str; 3] = ["x", "y", "z"];
const FIELDS: [&str; 3] = ["f", "g", "h"];

/// How often the user of a tab does something.
const DEEDS: usize = 6;

/// How often a tab syncs.
const SYNCS: usize = 3;

/// How far the clock of a device may be wrong, in milliseconds. A minute of the future is trusted.
const WRONG_MAX_MS: i64 = 90_000;

/// How many requests of a thousand are lost, and as many answers.
const LOST: u32 = 100;

/// The most steps until the server takes over from an Express server.
const MOVED_AFTER_STEPS_MAX: usize = 150;

/// The most rounds until all is quiet, more than are needed.
const ROUNDS_MAX: usize = 200;

/// A request that seemed lost and arrives later.
#[derive(Debug)]
pub(crate) enum Late {
    Push { client: String, ops: Vec<Op>, bases: Option<Bases> },
    Pull { client: String, since: u64 },
    Nothing,
}

/// Which devices there are, and which accidents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cast {
    /// Everything happens, and all share all documents.
    Everything,
    /// The same with clients that name revisions, beside those with clocks.
    WithRevisions,
    /// Each device has documents of its own, is never loaded again, and shows one tab.
    Private,
}

/// A play.
pub(crate) struct Play {
    pub(crate) server: Server,
    pub(crate) page_limit: usize,
    cast: Cast,
    random: RefCell<Rng>,
    /// How many requests or answers of a thousand are lost.
    lost: Cell<u32>,
    late: RefCell<Vec<Late>>,
    spawned: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
    ids: Cell<u64>,
    /// The history in words, if it is wanted.
    story: Option<RefCell<Vec<String>>>,
}

/// The devices of a play.
#[derive(Debug, Default)]
struct Devices {
    tabs: Vec<Rc<Tab>>,
    databases: Vec<Rc<Tab>>,
    cursors: Vec<Rc<CursorClient>>,
}

impl Play {
    pub(crate) fn new(server: Server, seed: u64, cast: Cast, is_told: bool) -> Rc<Self> {
        let mut random = Rng::with_seed(seed);
        let page_limit = if random.bool() { 5 } else { 20 };
        let story = is_told.then(RefCell::default);
        Rc::new(Self { page_limit, cast, lost: Cell::new(LOST), story, ..Self::quiet(server, random) })
    }

    /// A play in which nothing is lost, with pages as original clients ask for them.
    pub(crate) fn calm(server: Server) -> Rc<Self> {
        Rc::new(Self::quiet(server, Rng::with_seed(0)))
    }

    fn quiet(server: Server, random: Rng) -> Self {
        Self {
            server,
            page_limit: 100,
            cast: Cast::Everything,
            random: RefCell::new(random),
            lost: Cell::new(0),
            late: RefCell::default(),
            spawned: RefCell::default(),
            ids: Cell::new(0),
            story: None,
        }
    }

    fn below(&self, count: usize) -> usize {
        self.random.borrow_mut().usize(..count)
    }

    fn happens(&self, in_a_thousand: u32) -> bool {
        self.random.borrow_mut().u32(..1_000) < in_a_thousand
    }

    /// A point at which anything else may happen.
    pub(crate) async fn step(&self) {
        Step::default().await;
    }

    async fn steps(&self, most: usize) {
        for _ in 0..self.below(most + 1) {
            self.step().await;
        }
    }

    /// An id that is in no order.
    pub(crate) fn next_id(&self, client: &str) -> String {
        self.ids.set(self.ids.get() + 1);
        format!("{:03x}-{client}-{}", self.below(0x1000), self.ids.get())
    }

    /// Adds a line to the history, if there is one.
    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(story) = &self.story {
            story.borrow_mut().push(line());
        }
    }

    /// The history.
    pub(crate) fn story(&self) -> String {
        self.story.as_ref().map(|story| story.borrow().join("\n")).unwrap_or_default()
    }

    /// Sends a request. `None` if it or its answer is lost.
    pub(crate) async fn ask<T>(&self, request: impl FnOnce(&Server) -> T, late: impl FnOnce() -> Late) -> Option<T> {
        self.steps(3).await;
        if self.happens(self.lost.get()) {
            self.late.borrow_mut().push(late());
            self.tell(|| "  the request is lost".to_owned());
            return None;
        }
        let answer = request(&self.server);
        self.steps(3).await;
        if self.happens(self.lost.get()) {
            self.tell(|| "  the answer is lost".to_owned());
            return None;
        }
        Some(answer)
    }

    fn spawn(&self, work: LocalBoxFuture<'static, ()>) {
        self.spawned.borrow_mut().push(work);
    }

    fn devices(&self) -> Devices {
        let mut devices = Devices::default();
        let is_private = self.cast == Cast::Private;
        // The Express server has no cursors. Races of two tabs are found by places in the log of this server.
        let is_express = self.server.is_express();
        for browser in 0..2 + self.below(2) {
            let client = format!("browser-{browser}");
            let ahead_ms = Rc::new(Cell::new(self.wrong_ms()));
            for _ in 0..if self.happens(250) && !is_private { 2 } else { 1 } {
                let database = Rc::new(RefCell::new(Database::default()));
                let tabs = if self.happens(300) && !is_private && !is_express { 2 } else { 1 };
                let tabs: Vec<_> = (0..tabs).map(|_| Rc::new(Tab::new(&client, &database, &ahead_ms))).collect();
                devices.databases.extend(tabs.first().cloned());
                devices.tabs.extend(tabs);
            }
        }
        let with_revisions = self.cast == Cast::WithRevisions;
        let cursors = if is_private || is_express { 0 } else { self.below(3) + usize::from(with_revisions) };
        let cursor = |number| CursorClient::new(&format!("cursor-{number}"), with_revisions && number < 2);
        devices.cursors = (0..cursors).map(|number| Rc::new(cursor(number))).collect();
        devices
    }

    fn wrong_ms(&self) -> i64 {
        match self.below(3) {
            0 => 0,
            1 => self.random.borrow_mut().i64(-5..=5),
            _ => self.random.borrow_mut().i64(-WRONG_MAX_MS..=WRONG_MAX_MS),
        }
    }

    /// Plays until all is quiet. Returns the first thing that is wrong.
    pub(crate) fn run(self: &Rc<Self>) -> Result<(), String> {
        let devices = self.devices();
        let mut tasks = vec![janitor(Rc::clone(self)).boxed_local()];
        if self.server.is_express() {
            tasks.push(mover(Rc::clone(self)).boxed_local());
        }
        let is_patient = self.cast == Cast::Private && self.server.is_express();
        for tab in &devices.tabs {
            if is_patient {
                tasks.push(patient_user(Rc::clone(self), Rc::clone(tab)).boxed_local());
                continue;
            }
            let neighbours = devices.tabs.iter().filter(|other| Rc::ptr_eq(&other.database, &tab.database)).cloned();
            tasks.push(user(Rc::clone(self), Rc::clone(tab), neighbours.collect()).boxed_local());
            tasks.push(syncer(Rc::clone(self), Rc::clone(tab)).boxed_local());
        }
        for cursor in &devices.cursors {
            tasks.push(cursor_user(Rc::clone(self), Rc::clone(cursor)).boxed_local());
        }
        scheduler::run(tasks, |count| self.below(count), || self.meanwhile());
        self.lost.set(0);
        self.tell(|| "all is calm".to_owned());
        self.settle(&devices)?;
        self.compare(&devices, Database::is_torn)?;
        self.repair(&devices);
        self.settle(&devices)?;
        self.compare(&devices, |_, _| false)?;
        let faults = self.server.faults();
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    }

    fn meanwhile(&self) -> Vec<LocalBoxFuture<'static, ()>> {
        // The client orders a push by time alone. Devices that share nothing do not write twice in a millisecond here.
        if self.cast == Cast::Private || self.happens(500) {
            self.server.world.host.advance_ms(1);
        }
        self.spawned.take()
    }

    /// All devices sync until nothing changes.
    fn settle(&self, devices: &Devices) -> Result<(), String> {
        let is_quiet = Cell::new(false);
        let task = async {
            for _ in 0..ROUNDS_MAX {
                let mut has_news = false;
                for tab in &devices.databases {
                    // Others pull in the next round what it pushes now.
                    has_news |= tab.database.borrow().stuck() > 0;
                    let synced = tab.sync(self).await;
                    has_news |= synced.is_none_or(|synced| synced.has_news || synced.has_more);
                }
                for cursor in &devices.cursors {
                    has_news |= cursor.sync(self).await != Some(false);
                }
                if !has_news {
                    is_quiet.set(true);
                    return;
                }
            }
        };
        scheduler::run(vec![task.boxed_local()], |_| 0, Vec::new);
        if is_quiet.get() {
            return Ok(());
        }
        let stuck = |tab: &Rc<Tab>| format!("{}: {:?}", tab.client, tab.database.borrow().unsynced());
        let stuck: Vec<String> = devices.databases.iter().map(stuck).collect();
        Err(format!("the devices never settle: {stuck:#?} {:#?}", devices.cursors))
    }

    /// Compares the documents of all devices with the server's.
    fn compare(&self, devices: &Devices, is_excused: impl Fn(&Database, &str) -> bool) -> Result<(), String> {
        let documents = self.server.documents();
        for tab in &devices.databases {
            let database = tab.database.borrow();
            let mut shown = database.documents();
            for (id, data) in documents.iter().filter(|(id, _)| !is_excused(&database, id)) {
                if shown.remove(id).as_ref() != Some(data) {
                    let has = database.documents().remove(id);
                    return Err(format!("{} has {has:?} as {id}, and the server {data:?}", tab.client));
                }
            }
            if let Some(id) = shown.keys().find(|id| !documents.contains_key(*id) && !is_excused(&database, id)) {
                return Err(format!("{} has {id}, and the server does not", tab.client));
            }
        }
        for cursor in &devices.cursors {
            if cursor.documents() != documents || cursor.stuck() > 0 {
                return Err(format!("{cursor:?} differs from the server: {documents:?}"));
            }
        }
        Ok(())
    }

    /// Writes each document again that no server could repair on some device.
    fn repair(&self, devices: &Devices) {
        for tab in &devices.databases {
            let torn: Vec<String> = tab.database.borrow().torn().cloned().collect();
            for document in torn {
                let repairer = Tab::new("repairer", &Rc::default(), &Rc::default());
                let work = async {
                    repairer.edit(self, Kind::Update, &document, Data::new()).await;
                    repairer.sync(self).await;
                };
                scheduler::run(vec![work.boxed_local()], |_| 0, Vec::new);
            }
            tab.database.borrow_mut().forget_torn();
        }
    }

    /// A change that a user could make of a document.
    fn change(&self, client: &str, is_shown: impl Fn(&str) -> bool) -> (Kind, String, Data) {
        let document = DOCUMENTS[self.below(DOCUMENTS.len())];
        let document = if self.cast == Cast::Private { format!("{client}-{document}") } else { document.to_owned() };
        let kind = match (is_shown(&document), self.below(10)) {
            // Its update of a deleted document would begin with the data that the client kept.
            (false, _) if self.cast == Cast::Private => Kind::Insert,
            (true, 0..6) | (false, 8) => Kind::Update,
            (true, 6..8) | (false, 0..8) => Kind::Insert,
            _ => Kind::Delete,
        };
        let mut data = Data::new();
        for _ in 0..=self.below(2) {
            let value = Value::from(format!("{client}-{}", self.ids.get()));
            data.insert(FIELDS[self.below(FIELDS.len())].to_owned(), value);
        }
        (kind, document, data)
    }
}

/// The user of a tab: edits, some of them two at a time, reloads, wiped databases and wrong clocks.
async fn user(play: Rc<Play>, tab: Rc<Tab>, neighbours: Vec<Rc<Tab>>) {
    for _ in 0..DEEDS {
        play.steps(8).await;
        let deed = play.below(if play.cast == Cast::Private { 60 } else { 100 });
        let (kind, document, data) = play.change(&tab.client, |document| tab.database.borrow().shows(document));
        match deed {
            0..60 => tab.until_reload(tab.edit(&play, kind, &document, data).boxed_local()).await,
            60..80 => {
                let (other_kind, _, other_data) = play.change(&tab.client, |_| true);
                for (kind, data) in [(kind, data), (other_kind, other_data)] {
                    let (its_play, tab, document) = (Rc::clone(&play), Rc::clone(&tab), document.clone());
                    let edit = async move {
                        tab.until_reload(tab.edit(&its_play, kind, &document, data).boxed_local()).await;
                    };
                    play.spawn(edit.boxed_local());
                }
            }
            80..90 => {
                play.tell(|| format!("{} is loaded again", tab.client));
                tab.reload();
            }
            90..94 => {
                play.tell(|| format!("a database of {} is wiped", tab.client));
                for neighbour in &neighbours {
                    neighbour.reload();
                }
                tab.database.borrow_mut().wipe();
            }
            _ => tab.set_ahead_ms(play.wrong_ms()),
        }
    }
}

/// The user of a tab who waits for each sync. If a client applies an entry while its user edits, one may overwrite the
/// row of the other. Without a policy, only an edit of the document repairs this.
async fn patient_user(play: Rc<Play>, tab: Rc<Tab>) {
    for _ in 0..DEEDS + SYNCS {
        play.steps(8).await;
        if play.happens(400) {
            tab.sync(&play).await;
        } else {
            let (kind, document, data) = play.change(&tab.client, |document| tab.database.borrow().shows(document));
            tab.edit(&play, kind, &document, data).await;
        }
    }
}

/// A tab syncs from time to time, while its user edits.
async fn syncer(play: Rc<Play>, tab: Rc<Tab>) {
    for _ in 0..SYNCS {
        play.steps(30).await;
        let sync = async {
            tab.sync(&play).await;
        };
        tab.until_reload(sync.boxed_local()).await;
    }
}

async fn cursor_user(play: Rc<Play>, cursor: Rc<CursorClient>) {
    for _ in 0..SYNCS {
        for _ in 0..play.below(3) {
            play.steps(8).await;
            let shown = cursor.documents();
            let (kind, document, data) = play.change("cursor", |document| shown.contains_key(document));
            cursor.edit(&play, kind, &document, data);
        }
        play.steps(10).await;
        cursor.sync(&play).await;
    }
}

/// The server takes over from an Express server at some moment.
async fn mover(play: Rc<Play>) {
    play.steps(MOVED_AFTER_STEPS_MAX).await;
    play.tell(|| "the server takes over".to_owned());
    play.server.take_over(|count| play.below(count));
}

/// Late requests, compactions, and much time that passes.
async fn janitor(play: Rc<Play>) {
    for _ in 0..10 {
        play.steps(20).await;
        let late = play.late.borrow_mut().pop();
        match (late, play.below(10)) {
            (Some(Late::Push { client, ops, bases }), _) => {
                play.tell(|| format!("a late push of {client} arrives"));
                play.server.push_with(&client, &ops, bases.as_ref());
            }
            (Some(Late::Pull { client, since }), _) => {
                play.server.pull_since(&client, since, play.page_limit);
            }
            (_, 0..3) => {
                play.tell(|| "a compaction".to_owned());
                play.server.compact(play.below(60) as u64);
            }
            (_, 4) if play.happens(300) => {
                let setting = Setting::of(play.random.borrow_mut().u64(..));
                play.tell(|| format!("the policy is {setting:?} now"));
                play.server.change_policy(setting);
            }
            (_, 3) if play.happens(200) => {
                play.tell(|| "a long silence and a compaction".to_owned());
                play.server.world.host.advance_ms(CLIENT_FORGOTTEN_AFTER_MS + 1);
                play.server.compact(INTEGER_MAX);
            }
            _ => {}
        }
    }
}
