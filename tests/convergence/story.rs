//! Random stories: a few devices and documents, and all kinds of faults between the devices and the server.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use syncflow_server::core::operation::OperationKind;

/// The documents of all stories.
pub(crate) const DOCUMENTS: [&str; 3] = ["x", "y", "z"];
/// The keys of their data.
pub(crate) const FIELDS: [&str; 3] = ["f", "g", "h"];

/// Devices and the events of their lives.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) devices: Vec<DeviceKind>,
    pub(crate) events: Vec<Event>,
}

/// The kind of a device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeviceKind {
    pub(crate) dialect: Dialect,
    pub(crate) wall_clock: WallClock,
    /// Whether it is another tab of the device before it: a separate database that pulls with the same client id.
    pub(crate) is_tab: bool,
}

/// The protocol of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Pulls with the cursor of the last answer.
    Cursor,
    /// Pulls with the greatest timestamp of the last page.
    Original,
}

/// The clock of a device.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WallClock {
    /// It shows the time of the server.
    True,
    /// It stands still.
    Stopped,
    /// It shows the greatest possible timestamp.
    FarFuture,
    /// It runs backwards.
    Backwards,
    /// It repeats three values.
    Cycling,
}

/// The fate of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is answered.
    Answered,
    /// The request never arrives.
    RequestLost,
    /// The request takes effect, and its answer never arrives.
    AnswerLost,
}

/// An event. `device` is taken modulo the number of devices.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The user of a device changes a document.
    Edit { device: usize, document: usize, kind: OperationKind, field: usize },
    /// A device pushes its operations.
    Push { device: usize, fate: Fate },
    /// A device pushes its operations and pulls a page.
    Pull { device: usize, fate: Fate, max_operations: usize },
    /// A device loses what it has only in memory: its clocks.
    Reload { device: usize },
    /// A device loses everything and comes back as another client.
    Restart { device: usize },
    /// A backup of the whole device is made.
    BackUp { device: usize },
    /// A device is restored from its backup.
    PutBack { device: usize },
    /// A push that seemed lost arrives, perhaps for the second time.
    LatePush { device: usize },
    /// A pull that seemed lost arrives, perhaps for the second time. The device does not wait for its answer any more.
    LatePull { device: usize, back: usize, max_operations: usize },
    /// The server compacts.
    Compact { older_than_ms: u64 },
    /// Time passes.
    Tick { by_ms: u64 },
    /// So much time passes that a compaction may also forget silent clients.
    Silence,
}

/// Stories of up to `max_events` events.
pub(crate) fn stories(max_events: usize) -> impl Strategy<Value = Story> {
    let dialect = select(&[Dialect::Cursor, Dialect::Original][..]);
    let wall_clock = select(
        &[WallClock::True, WallClock::Stopped, WallClock::FarFuture, WallClock::Backwards, WallClock::Cycling][..],
    );
    let device = (dialect, wall_clock, any::<bool>()).prop_map(|(dialect, wall_clock, is_tab)| DeviceKind {
        dialect,
        wall_clock,
        is_tab,
    });
    (vec(device, 2..=4), vec(event(), 1..=max_events)).prop_map(|(devices, events)| Story { devices, events })
}

fn event() -> impl Strategy<Value = Event> {
    let device = || 0..4_usize;
    let kind =
        select(&[OperationKind::Insert, OperationKind::Update, OperationKind::Update, OperationKind::Delete][..]);
    prop_oneof![
        12 => (device(), 0..DOCUMENTS.len(), kind, 0..FIELDS.len())
            .prop_map(|(device, document, kind, field)| Event::Edit { device, document, kind, field }),
        4 => (device(), fate()).prop_map(|(device, fate)| Event::Push { device, fate }),
        12 => (device(), fate(), 1..4_usize)
            .prop_map(|(device, fate, max_operations)| Event::Pull { device, fate, max_operations }),
        1 => device().prop_map(|device| Event::Reload { device }),
        1 => device().prop_map(|device| Event::Restart { device }),
        1 => device().prop_map(|device| Event::BackUp { device }),
        1 => device().prop_map(|device| Event::PutBack { device }),
        1 => device().prop_map(|device| Event::LatePush { device }),
        1 => (device(), 0..3_usize, 1..4_usize)
            .prop_map(|(device, back, max_operations)| Event::LatePull { device, back, max_operations }),
        2 => (0..20_u64).prop_map(|older_than_ms| Event::Compact { older_than_ms }),
        3 => (1..10_u64).prop_map(|by_ms| Event::Tick { by_ms }),
        1 => Just(Event::Silence),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![5 => Just(Fate::Answered), 1 => Just(Fate::RequestLost), 1 => Just(Fate::AnswerLost)]
}
