//! The survey of all tenants, for the gauges of logs and clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::page::Metrics;
use crate::core::names::TenantId;
use crate::core::numbers::UnixMs;
use crate::limits::runtime::{SURVEY_PAUSE_MS, SURVEY_TURN_MAX_TENANTS, SURVEYED_MAX_TENANTS};
use crate::limits::service::{CLIENT_ACTIVE_MS, CLOCKS_APART_MAX_MS, SURVEY_CLIENTS_MAX_ENTRIES};
use crate::service::Host;
use crate::store::{Result, Store, Survey, SurveyRequest};

/// By how many entries clients lag behind: the label, and the greatest number of entries that it stands for.
const LAGS: [(&str, u64); 5] =
    [("0", 0), ("1-100", 100), ("101-1000", 1_000), ("1001-10000", 10_000), ("more", u64::MAX)];

/// The sums over all tenants that were surveyed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Sums {
    tenants: usize,
    entries: u64,
    entries_max: u64,
    oldest_received_ms: Option<UnixMs>,
    clients: [u64; LAGS.len()],
}

impl Sums {
    fn add(&mut self, survey: &Survey) {
        let entries = survey.head.entries_since(survey.horizon);
        self.tenants += 1;
        self.entries = self.entries.saturating_add(entries);
        self.entries_max = self.entries_max.max(entries);
        self.oldest_received_ms = self.oldest_received_ms.into_iter().chain(survey.oldest_received_ms).min();
        for pulled in &survey.pulled {
            let lag = survey.head.entries_since(*pulled);
            if let Some(index) = LAGS.iter().position(|(_, max)| lag <= *max) {
                self.clients[index] += 1;
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a time in seconds needs few digits")]
    fn publish(&self, metrics: &Metrics, now_ms: UnixMs) {
        let gauges = &metrics.surveyed;
        gauges.tenants.set(self.tenants.try_into().unwrap_or(i64::MAX));
        gauges.log_entries.set(self.entries.try_into().unwrap_or(i64::MAX));
        gauges.log_entries_max.set(self.entries_max.try_into().unwrap_or(i64::MAX));
        let age_ms = self.oldest_received_ms.map_or(0, |oldest| now_ms.ms_since(oldest));
        gauges.horizon_age_seconds.set(age_ms as f64 / 1e3);
        gauges.at_seconds.set(now_ms.get() as f64 / 1e3);
        for ((label, _), clients) in LAGS.iter().zip(self.clients) {
            gauges.set_clients(label, clients);
        }
    }
}

/// Surveys the tenants of a store from time to time, until it is dropped.
///
/// Each tenant is one small read. At most [`SURVEY_TURN_MAX_TENANTS`] are read in a row, and then there is a pause of
/// [`SURVEY_PAUSE_MS`]. The gauges are set when all tenants were read. Tenants beyond the first
/// [`SURVEYED_MAX_TENANTS`] are left out.
pub async fn survey_store(store: Arc<dyn Store>, host: Arc<dyn Host>, metrics: Arc<Metrics>) {
    let (mut sums, mut last) = (Sums::default(), None);
    loop {
        match take_turn(&*store, &*host, &mut sums, last.as_ref()).await {
            Ok(Some(tenant)) if sums.tenants < SURVEYED_MAX_TENANTS => last = Some(tenant),
            Ok(_) => {
                sums.publish(&metrics, host.now_ms());
                (sums, last) = (Sums::default(), None);
            }
            Err(error) => {
                tracing::debug!(error.cause = %error, "the survey of the store begins again later");
                (sums, last) = (Sums::default(), None);
            }
        }
        sleep(Duration::from_millis(SURVEY_PAUSE_MS)).await;
    }
}

/// Surveys the tenants after the last one. Returns the last of them, if there may be more.
async fn take_turn(
    store: &dyn Store,
    host: &dyn Host,
    sums: &mut Sums,
    after: Option<&TenantId>,
) -> Result<Option<TenantId>> {
    let tenants = store.tenants(after, SURVEY_TURN_MAX_TENANTS).await?;
    for tenant in &tenants {
        let now_ms = host.now_ms();
        let active_ms = now_ms.minus_ms(CLIENT_ACTIVE_MS)..=now_ms.plus_ms(CLOCKS_APART_MAX_MS);
        sums.add(&store.survey(tenant, SurveyRequest { active_ms, max_clients: SURVEY_CLIENTS_MAX_ENTRIES }).await?);
    }
    let may_be_more = tenants.len() == SURVEY_TURN_MAX_TENANTS;
    Ok(tenants.into_iter().last().filter(|_| may_be_more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::numbers::Seq;

    #[test]
    fn logs_are_added_up_and_each_client_counts_by_its_lag() {
        let mut sums = Sums::default();
        let pulled = [20_000, 19_999, 19_900, 19_000, 18_999, 0].map(Seq::new).to_vec();
        let first = Survey {
            head: Seq::new(20_000),
            horizon: Seq::new(19_990),
            oldest_received_ms: Some(UnixMs::new(7)),
            pulled,
        };
        sums.add(&first);
        sums.add(&Survey { head: Seq::new(3), oldest_received_ms: Some(UnixMs::new(5)), ..Survey::default() });
        sums.add(&Survey::default());
        let expected = Sums {
            tenants: 3,
            entries: 13,
            entries_max: 10,
            oldest_received_ms: Some(UnixMs::new(5)),
            clients: [1, 2, 1, 1, 1],
        };
        assert_eq!(sums, expected);
    }
}
