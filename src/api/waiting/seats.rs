//! Bounds for requests that wait, for all of them and for each subject. They have no place among other requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::access::Principal;
use crate::core::names::{Subject, TenantId};
use crate::limits::api::{SUBJECT_STREAMS_MAX_REQUESTS, SUBJECT_WAITS_MAX_REQUESTS, WAITS_MAX_REQUESTS};

/// Seats for one kind of requests.
#[derive(Debug)]
pub(in crate::api) struct Seats {
    max: usize,
    of_subject_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of_subjects: HashMap<Sitting, usize>,
}

/// A subject in its tenant.
type Sitting = (TenantId, Subject);

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum NoSeat {
    /// All are taken.
    ForAnybody,
    /// The subject has as many as it may have.
    ForSubject,
}

impl Seats {
    /// Seats for streams.
    pub(in crate::api) fn for_streams(max: usize) -> Arc<Self> {
        Self::new(max, SUBJECT_STREAMS_MAX_REQUESTS)
    }

    /// Seats for pulls that wait.
    pub(in crate::api) fn for_waits() -> Arc<Self> {
        Self::new(WAITS_MAX_REQUESTS, SUBJECT_WAITS_MAX_REQUESTS)
    }

    fn new(max: usize, of_subject_max: usize) -> Arc<Self> {
        Arc::new(Self { max, of_subject_max, taken: Mutex::default() })
    }

    /// Takes a seat, until the result is dropped.
    pub(in crate::api) fn take(self: &Arc<Self>, principal: &Principal) -> Result<Seat, NoSeat> {
        let sitting = (principal.tenant.clone(), principal.subject.clone());
        let mut taken = self.lock();
        let of_subject = taken.of_subjects.get(&sitting).copied().unwrap_or_default();
        // A principal that stands for everybody has no seats of its own.
        if of_subject >= self.of_subject_max && !principal.is_everybody {
            return Err(NoSeat::ForSubject);
        }
        if taken.all >= self.max {
            return Err(NoSeat::ForAnybody);
        }
        taken.all += 1;
        taken.of_subjects.insert(sitting.clone(), of_subject + 1);
        Ok(Seat { seats: Arc::clone(self), sitting })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A seat that is taken.
#[derive(Debug)]
pub(in crate::api) struct Seat {
    seats: Arc<Seats>,
    sitting: Sitting,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        taken.all -= 1;
        if let Some(of_subject) = taken.of_subjects.get_mut(&self.sitting) {
            *of_subject -= 1;
            if *of_subject == 0 {
                taken.of_subjects.remove(&self.sitting);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::access::Role;

    fn principal(tenant: &str, subject: &str) -> Principal {
        Principal::new(TenantId::literal(tenant), Subject::literal(subject), Role::Reader)
    }

    #[test]
    fn a_subject_has_so_many_seats_and_all_together_have_so_many() {
        let seats = Seats::new(5, 2);
        let take = |tenant, subject| seats.take(&principal(tenant, subject));
        let first = take("t", "a").unwrap();
        let second = take("t", "a").unwrap();
        assert_eq!(take("t", "a").unwrap_err(), NoSeat::ForSubject);
        let others = [take("t", "b"), take("t", "c"), take("u", "a")];
        assert!(others.iter().all(Result::is_ok), "other subjects, and the same name in another tenant");
        assert_eq!(take("t", "d").unwrap_err(), NoSeat::ForAnybody);
        drop(first);
        assert!(take("t", "d").is_ok());
        drop((second, others));
        let everybody = principal("t", "a").for_everybody();
        let crowd: Vec<_> = (0..5).map(|_| seats.take(&everybody)).collect();
        assert!(crowd.iter().all(Result::is_ok), "one principal stands for many users");
        assert_eq!(seats.take(&everybody).unwrap_err(), NoSeat::ForAnybody);
        drop(crowd);
        let taken = seats.lock();
        assert_eq!((taken.all, taken.of_subjects.len()), (0, 0), "nothing is kept of them");
    }
}
