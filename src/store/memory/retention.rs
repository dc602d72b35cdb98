//! The steps of retention of the model store.

use super::Tenant;
use crate::core::cursor::Position;
use crate::core::decide::pushed_id;
use crate::core::names::{DocumentKey, FromStore as _, OperationId};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::retention::Expiry;
use crate::store::{ExpireStep, Expired};

impl Tenant {
    pub(super) fn aged_place(&self, received_until_ms: UnixMs, up_to: Seq) -> Option<Position> {
        let compacted = self.remains.iter().map(|(seq, (_, received_at_ms))| (*seq, *received_at_ms));
        let logged = self.log.iter().map(|(seq, logged)| (*seq, logged.received_at_ms));
        let is_old = |(seq, received_at_ms): &(Seq, UnixMs)| *seq <= up_to && *received_at_ms <= received_until_ms;
        let (last, _) = compacted.chain(logged).take_while(is_old).last()?;
        self.position(last)
    }

    pub(super) fn expire(&mut self, step: ExpireStep) -> Expired {
        let Expiry { floor, tombstones_up_to, remains_before } = step.expiry;
        // The log may be another one by now, which is empty or shorter.
        if self.newest == Position::START || floor.seq > self.horizon {
            return Expired::default();
        }
        if floor.seq > self.floor.seq {
            self.floor = floor;
        }
        self.tombstones_gone = self.tombstones_gone.max(tombstones_up_to);
        let tombstones: Vec<DocumentKey> = self.old_tombstones(tombstones_up_to).take(step.max_rows).cloned().collect();
        for key in &tombstones {
            self.stamps.remove(key);
            if let Some((seq, _)) = self.documents.remove(key) {
                self.keys_by_seq.remove(&seq);
            }
        }
        let max_remains = step.max_rows - tombstones.len();
        let remains: Vec<Seq> = self.remains.range(..remains_before).map(|(seq, _)| *seq).take(max_remains).collect();
        for seq in &remains {
            self.fingerprints.remove(seq);
            if let Some((id, _)) = self.remains.remove(seq) {
                self.known.remove(&OperationId::from_store(pushed_id(&id)));
                self.known.remove(&id);
            }
        }
        Expired { tombstones: tombstones.len() as u64, remains: remains.len() as u64 }
    }

    pub(super) fn count_expired(&self, expiry: Expiry) -> Expired {
        Expired {
            tombstones: self.old_tombstones(expiry.tombstones_up_to).count() as u64,
            remains: self.fingerprints.range(..expiry.remains_before).count() as u64,
        }
    }

    /// The tombstones up to a sequence number, the oldest first.
    fn old_tombstones(&self, up_to: Seq) -> impl Iterator<Item = &DocumentKey> {
        let is_deleted =
            move |key: &&DocumentKey| self.documents.get(*key).is_some_and(|(_, found)| found.is_deleted());
        self.keys_by_seq.range(..=up_to).map(|(_, key)| key).filter(is_deleted)
    }
}
