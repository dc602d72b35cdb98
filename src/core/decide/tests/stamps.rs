//! The stamps of documents: how many bytes they are, and what becomes of damaged ones.

use super::resolving::{DELETE, History, INSERT, UPDATE, made};
use super::*;
use crate::core::decide::policy::{ConflictPolicy, Deletes};
use crate::core::decide::quota::{Quota, Usage};

#[test]
fn stamps_are_counted_as_long_as_they_are_kept() {
    let mut history = History::new(ConflictPolicy::Merge, Deletes::Lose);
    let quota_of = |max| Quota { max_bytes: Some(max), ..Quota::default() };
    let edits = [
        made("1", INSERT, r#"{"x":1,"y":1}"#, 10, &[("a", 1)]),
        made("2", UPDATE, r#"{"x":2}"#, 20, &[("b", 1), ("a", 1)]),
        made("3", UPDATE, r#"{"y":3}"#, 15, &[("c", 1), ("a", 1)]),
        made("4", DELETE, "", 30, &[("a", 2), ("b", 1), ("c", 1)]),
        made("5", INSERT, r#"{"z":5}"#, 40, &[("a", 3), ("b", 1), ("c", 1)]),
    ];
    let (mut counted, mut most) = (0, 0);
    for edit in edits {
        let before = Usage { bytes: u64::try_from(counted).unwrap(), ..Usage::default() };
        history.snapshot.usage = Some(before);
        let operations = std::slice::from_ref(&edit);
        let (_, batch) = history.batch(operations);
        counted += batch.bytes_delta;
        let push = |quota| Push { policies: &history.policies, quota, ..Push::from(operations) };
        let decide_with = |max| decide(&[push(quota_of(max))], &history.snapshot, UnixMs::new(1_000)).0.remove(0);
        let after = u64::try_from(counted).unwrap();
        assert!(decide_with(after).is_ok(), "exactly the limit");
        if after > before.bytes && edit.kind() != DELETE {
            assert!(matches!(decide_with(after - 1), Err(Refused::QuotaExceeded(_))), "{}", edit.id);
        }
        history.push(operations);
        let stored = &history.snapshot.stamps[&key("d")];
        let of_stamps = stored.stamps.as_ref().map_or(0, String::len);
        let of_log: usize = history.log.iter().map(Operation::kept_bytes).sum();
        most = most.max(of_stamps);
        let kept: usize = history.kept_bytes;
        assert_eq!(counted, i64::try_from(of_log + kept + history.document().bytes() + of_stamps).unwrap());
    }
    assert!(most > 80, "there are stamps for each key: {most}");
}

#[test]
fn damaged_stamps_say_nothing_and_hold_up_no_client() {
    let clock = [("c", 1), ("a", 1)];
    let late = [made("3", UPDATE, r#"{"x":3,"y":3}"#, 25, &clock)];
    let began = |policy| {
        let mut history = History::new(policy, Deletes::Lose);
        history.push(&[made("1", INSERT, r#"{"x":1,"y":1}"#, 10, &[("a", 1)])]);
        history.push(&[made("2", UPDATE, r#"{"x":2}"#, 30, &[("b", 1), ("a", 1)])]);
        history
    };
    for policy in [ConflictPolicy::LastWriterWins, ConflictPolicy::Merge, ConflictPolicy::ClientWins] {
        let mut without = began(policy);
        without.snapshot.stamps.clear();
        without.push(&late);
        for text in ["", "{", "[]", r#"{"rev":2,"stamps":[]}"#, r#"{"rev":"x"}"#] {
            let mut damaged = began(policy);
            let stored = StoredStamps { stamps: Some(text.to_owned()), kept: Some(text.to_owned()) };
            damaged.snapshot.stamps.insert(key("d"), stored);
            assert!(matches!(damaged.push(&late)[0], Outcome::Resolved(_) | Outcome::Applied), "{text}");
            assert_eq!(damaged.data(), without.data(), "{text}");
            let stored = damaged.snapshot.stamps[&key("d")].stamps.clone();
            assert_eq!(stored, without.snapshot.stamps[&key("d")].stamps, "they are whole again: {text}");
        }
    }
    let mut gone = began(ConflictPolicy::Merge);
    gone.push(&[made("4", DELETE, "", 40, &[("a", 2), ("b", 1)])]);
    let stored = gone.snapshot.stamps.get_mut(&key("d")).unwrap();
    *stored = StoredStamps { kept: stored.kept.as_ref().map(|_| r#"{"gone":{}}"#.to_owned()), ..stored.clone() };
    assert!(stored.kept.is_some());
    let back = made("5", UPDATE, r#"{"z":5}"#, 50, &[("c", 1), ("a", 1)]);
    assert!(matches!(gone.push(&[back])[0], Outcome::Resolved(_) | Outcome::Applied));
    assert_eq!(gone.data(), Some(r#"{"z":5}"#), "as after a compaction");
}
