//! The CPU time and memory of processes. They come from `/proc`, so this works only on Linux.

use std::fs;
use std::time::Duration;

/// The kernel measures the CPU time of processes in this unit on all machines.
const TICKS_PER_SECOND: f64 = 100.0;

/// The CPU time since a process began.
pub(crate) type CpuTime = Duration;

/// The CPU time of a process without its ended children, or `None` if it does not exist.
pub(crate) fn cpu_time(pid: u32) -> Option<CpuTime> {
    Some(Stat::of(pid)?.own_time())
}

/// The CPU time of a process and all its children, including ended ones.
pub(crate) fn cpu_time_with_children(pid: u32) -> Option<CpuTime> {
    let parent = Stat::of(pid)?;
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children = pids.filter_map(Stat::of).filter(|stat| stat.parent == pid);
    Some(parent.own_time() + parent.ended_children + children.map(|child| child.own_time()).sum::<Duration>())
}

/// The parent of a process, if the parent's name begins with `name`.
pub(crate) fn parent_named(pid: u32, name: &str) -> Option<u32> {
    let parent = Stat::of(pid)?.parent;
    is_named(parent, name).then_some(parent)
}

/// Whether a process exists whose name begins with `name`.
pub(crate) fn is_named(pid: u32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|command| command.starts_with(name))
}

/// A line of a process's status, such as `VmRSS`, in MB.
pub(crate) fn memory_mb(pid: u32, line: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1_024.0 / 1e6)
}

struct Stat {
    parent: u32,
    own: [u64; 2],
    ended_children: Duration,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before it may contain spaces and parentheses.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let times: Vec<u64> = fields.skip(9).take(4).map_while(|field| field.parse().ok()).collect();
        let [user, system, children_user, children_system] = times[..] else { return None };
        Some(Self { parent, own: [user, system], ended_children: duration(children_user + children_system) })
    }

    fn own_time(&self) -> Duration {
        duration(self.own.iter().sum())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a time of hundreds of years is not measured here")]
fn duration(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND)
}
