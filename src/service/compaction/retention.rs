//! The steps of retention of one tenant, after its log was compacted.

use crate::core::names::TenantId;
use crate::core::numbers::{Seq, UnixMs};
use crate::core::retention::Expiry;
use crate::limits::service::{EXPIRE_STEP_MAX_ENTRIES, LIST_MAX_ENTRIES};
use crate::service::{ServiceError, SyncService};
use crate::store::{ExpireStep, Expired, SurveyRequest};

impl SyncService {
    /// Removes what retention allows, for at most `time_max_ms` but at least one step. Says whether nothing was left
    /// when the time was over.
    pub(super) async fn expire(&self, tenant: &TenantId, time_max_ms: u64) -> Result<(Expired, bool), ServiceError> {
        let began_ms = self.host.now_ms();
        if self.retention.cuts(began_ms).is_none() {
            return Ok((Expired::default(), true));
        }
        // No client is surveyed here, but some stores need a number.
        let nobody = SurveyRequest { active_ms: UnixMs::EPOCH..=UnixMs::EPOCH, max_clients: 1 };
        let horizon = self.store.survey(tenant, nobody).await?.horizon;
        let mut all = Expired::default();
        let Some(expiry) = self.expiry(tenant, horizon).await? else { return Ok((all, true)) };
        let step = ExpireStep { expiry, max_rows: EXPIRE_STEP_MAX_ENTRIES };
        loop {
            let expired = self.store.expire(tenant, step).await?;
            all = all.plus(expired);
            self.hooks.expired(tenant, expired);
            if expired.rows() < step.max_rows as u64 {
                return Ok((all, true));
            }
            if self.host.now_ms().ms_since(began_ms) >= time_max_ms {
                return Ok((all, false));
            }
        }
    }

    /// The part of a tenant that retention allows to remove, if history is removed up to `horizon`.
    pub(crate) async fn expiry(&self, tenant: &TenantId, horizon: Seq) -> Result<Option<Expiry>, ServiceError> {
        let now_ms = self.host.now_ms();
        let Some(cuts) = self.retention.cuts(now_ms) else { return Ok(None) };
        let up_to = horizon.min(self.needed_from(tenant, now_ms).await?);
        if up_to == Seq::START {
            return Ok(None);
        }
        let mut places = [None; 2];
        for (place, cut_ms) in places.iter_mut().zip([cuts.tombstones_ms, cuts.remains_ms]) {
            if let Some(cut_ms) = cut_ms {
                *place = self.store.aged_place(tenant, cut_ms, up_to).await?;
            }
        }
        let [tombstones, remains] = places;
        Ok(Expiry::up_to(tombstones, remains))
    }

    /// The first place from which a client may continue that was seen lately.
    async fn needed_from(&self, tenant: &TenantId, now_ms: UnixMs) -> Result<Seq, ServiceError> {
        let (mut first, mut last) = (Seq::AFTER_ALL, None);
        loop {
            let mut rows = self.store.client_rows(tenant, last.as_ref(), LIST_MAX_ENTRIES).await?;
            let pulls = rows.iter().filter_map(|row| row.pulls.as_ref());
            let needed = pulls.filter_map(|(progress, places)| self.retention.needed_from(*progress, places, now_ms));
            first = needed.fold(first, Seq::min);
            if rows.len() < LIST_MAX_ENTRIES {
                return Ok(first);
            }
            last = rows.pop().map(|row| row.client_id);
        }
    }
}
