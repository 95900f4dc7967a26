//! Slots of the cache: the answer to each question, and when it is forgotten.

use std::collections::HashMap;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::net::resolve::question::{QueryFailure, Question, Records};

/// With fewer questions than this nothing is forgotten, however old.
pub(super) const MIN_SWEEP: usize = 1024;

#[derive(Default)]
pub(super) struct Slots {
    pub(super) by_question: HashMap<Question, CacheSlot>,
    /// At this size the next sweep takes place.
    sweep_at: usize,
}

#[derive(Default)]
pub(super) struct CacheSlot {
    pub(super) known: Option<CachedName>,
    pub(super) flight: Option<Flight>,
    pub(super) failed: Option<Failed>,
    /// When it was last asked.
    pub(super) asked: Option<Instant>,
    /// When it was last asked because the answer led nowhere.
    pub(super) renewed: Option<Instant>,
}

pub(super) struct CachedName {
    pub(super) records: Records,
    /// The name had records before it was denied.
    pub(super) is_lost: bool,
    pub(super) fresh_until: Instant,
    pub(super) stale_until: Instant,
}

/// A question on its way. The other end of the channel is dropped when it is over.
pub(super) struct Flight {
    pub(super) since: Instant,
    pub(super) over: watch::Receiver<()>,
}

pub(super) struct Failed {
    pub(super) failure: QueryFailure,
    pub(super) retry_at: Instant,
}

impl Slots {
    /// That of a question, which has most likely been asked before.
    pub(super) fn slot(&mut self, question: &Question, now: Instant) -> &mut CacheSlot {
        if !self.by_question.contains_key(question) {
            self.make_room(now);
            self.by_question
                .insert(question.clone(), CacheSlot::default());
        }
        self.by_question
            .get_mut(question)
            .expect("it is there, or was just put there")
    }

    /// Forgets, from time to time, what nobody could use: the targets of a service may have other
    /// names every day.
    fn make_room(&mut self, now: Instant) {
        if self.by_question.len() < self.sweep_at.max(MIN_SWEEP) {
            return;
        }
        self.by_question.retain(|_, slot| {
            let known = slot
                .known
                .as_ref()
                .is_some_and(|known| now < known.stale_until.max(known.fresh_until));
            let failed = slot
                .failed
                .as_ref()
                .is_some_and(|failed| now < failed.retry_at);
            known || failed || slot.flight.is_some()
        });
        self.sweep_at = 2 * self.by_question.len();
    }
}

impl CacheSlot {
    /// The question is on its way, for as long as the sender is there.
    pub(super) fn depart(&mut self, now: Instant) -> (&Flight, watch::Sender<()>) {
        let (sender, over) = watch::channel(());
        self.asked = Some(now);
        (self.flight.insert(Flight { since: now, over }), sender)
    }
}
