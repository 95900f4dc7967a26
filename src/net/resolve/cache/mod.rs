//! Answers, for as long as they hold, and each question on its way once.
//!
//! An answer whose time is over is asked for again before it is used. When that leads to nothing
//! the old one is still better than none (RFC 8767), but only then: that there is no such name is
//! an answer, too. An answer whose addresses lead nowhere is renewed before its time is over
//! ([`Cache::renew`]).

mod slots;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::net::resolve::cache::slots::{CachedName, Failed, Flight, Slots};
use crate::net::resolve::question::{Answer, AnswerSource, QueryFailure, Question, Records};

/// No longer than this is a name believed not to exist: a server that was just added must be found.
const MAX_NEGATIVE: Duration = Duration::from_secs(10);

/// The time to live of an answer that has none of its own.
const DEFAULT_TTL: Duration = Duration::from_secs(5);

/// A new answer is waited for so long where there is an old one. Most come within a few
/// milliseconds; a client notices no less than this.
const STALE_AFTER: Duration = Duration::from_millis(200);

/// After a failure no question is asked for so long (RFC 9520 §3.2), and for longer where an old
/// answer is at hand.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_STALE: Duration = Duration::from_secs(5);

/// An answer that leads nowhere is renewed no more often than this, for all connections together: a
/// server that is down, and has not moved, costs the DNS server one question a second. A name that
/// is denied since then is asked for as often, because a container that is made again has no
/// address for a moment.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// A connection waits for a renewal no longer than this, so that DNS servers that are silent delay
/// no failover for longer.
const RENEWAL_WAIT: Duration = Duration::from_secs(1);

/// For how long answers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ttls {
    pub(super) min_ttl: Duration,
    pub(super) max_ttl: Duration,
    /// After that, while no source answers.
    pub(super) stale: Duration,
    /// For one question, all attempts together.
    pub(super) timeout: Duration,
}

/// The answers of one source.
pub(super) struct Cache<S> {
    shared: Arc<CacheInner<S>>,
    /// The questions on their way. They end with the cache.
    tasks: Mutex<JoinSet<()>>,
}

struct CacheInner<S> {
    source: S,
    terms: Ttls,
    slots: Mutex<Slots>,
}

/// The result of a look-up in the cache.
enum Lookup {
    Answer(Result<Records, QueryFailure>),
    /// It is on its way; what to be content with, and when.
    Flight(watch::Receiver<()>, Option<(Records, Instant)>),
}

impl<S: AnswerSource> Cache<S> {
    pub(super) fn new(source: S, terms: Ttls) -> Self {
        let shared = Arc::new(CacheInner {
            source,
            terms,
            slots: Mutex::default(),
        });
        Self {
            shared,
            tasks: Mutex::default(),
        }
    }

    /// The answer, which may be an old one. Dropping the future does not stop the question.
    pub(super) async fn get(&self, question: Question) -> Result<Records, QueryFailure> {
        loop {
            let (mut over, stale) = match self.find(&question) {
                Lookup::Answer(answer) => return answer,
                Lookup::Flight(over, stale) => (over, stale),
            };
            // Nothing is ever sent: it fails when the question is over.
            let over = over.changed();
            match stale {
                None => _ = over.await,
                Some((records, until)) => {
                    if timeout_at(until, over).await.is_err() {
                        return Ok(records);
                    }
                }
            }
        }
    }

    /// Asks again although the answer may still hold, because since `failed_at` its addresses are
    /// known to lead nowhere. Returns when there is a newer answer, when there is none in time, or
    /// at once if the question was asked since then, or renewed within [`RENEW_EVERY`]. What was
    /// never asked is not asked.
    pub(super) async fn renew(&self, question: &Question, failed_at: Instant) {
        if let Some((mut over, until)) = self.renewal(question, failed_at) {
            let _ = timeout_at(until, over.changed()).await;
        }
    }

    /// The answer to wait for, and until when.
    fn renewal(
        &self,
        question: &Question,
        failed_at: Instant,
    ) -> Option<(watch::Receiver<()>, Instant)> {
        let now = Instant::now();
        let mut slots = self.shared.lock();
        let slot = slots.by_question.get_mut(question)?;
        if let Some(flight) = &slot.flight {
            return Some((flight.over.clone(), flight.since + RENEWAL_WAIT));
        }
        let is_renewed = slot.renewed.is_some_and(|at| now < at + RENEW_EVERY);
        if is_renewed || slot.asked.is_some_and(|at| at >= failed_at) {
            return None;
        }
        slot.renewed = Some(now);
        let (flight, sender) = slot.depart(now);
        let over = flight.over.clone();
        drop(slots);
        self.ask(question, sender);
        Some((over, now + RENEWAL_WAIT))
    }

    /// Whether the last answer had any records, however old it is.
    pub(super) fn has_records(&self, question: &Question) -> bool {
        let slots = self.shared.lock();
        let known = slots
            .by_question
            .get(question)
            .and_then(|slot| slot.known.as_ref());
        known.is_some_and(|known| known.records != Records::Missing || known.is_lost)
    }

    /// Has every question asked again. The answers so far are old ones.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        for slot in self.shared.lock().by_question.values_mut() {
            (slot.failed, slot.renewed) = (None, None);
            if let Some(known) = &mut slot.known {
                known.fresh_until = known.fresh_until.min(now);
            }
        }
    }

    fn find(&self, question: &Question) -> Lookup {
        let now = Instant::now();
        let mut slots = self.shared.lock();
        let slot = slots.slot(question, now);
        if let Some(known) = slot.known.as_ref().filter(|known| now < known.fresh_until) {
            return Lookup::Answer(Ok(known.records.clone()));
        }
        let stale = slot
            .known
            .as_ref()
            .filter(|known| now < known.stale_until)
            .map(|known| known.records.clone());
        if let Some(flight) = &slot.flight {
            return flight.or(stale, now);
        }
        if let Some(failed) = slot.failed.as_ref().filter(|failed| now < failed.retry_at) {
            return Lookup::Answer(stale.ok_or_else(|| failed.failure.clone()));
        }
        let (flight, sender) = slot.depart(now);
        let found = flight.or(stale, now);
        drop(slots);
        self.ask(question, sender);
        found
    }

    /// Not while the slots are held: a runtime that shuts down drops what is spawned, which writes
    /// that down.
    fn ask(&self, question: &Question, over: watch::Sender<()>) {
        let (shared, question) = (Arc::clone(&self.shared), question.clone());
        let mut running = PendingQuery {
            shared,
            question,
            answer: Err(QueryFailure::Aborted),
            _over: over,
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let shared = Arc::clone(&running.shared);
            let answer = timeout(shared.terms.timeout, shared.source.ask(&running.question)).await;
            running.answer = answer.unwrap_or(Err(QueryFailure::Late));
            drop(running);
        });
    }

    #[cfg(test)]
    fn source(&self) -> &S {
        &self.shared.source
    }
}

impl Flight {
    fn or(&self, stale: Option<Records>, now: Instant) -> Lookup {
        match stale {
            Some(records) if now >= self.since + STALE_AFTER => Lookup::Answer(Ok(records)),
            stale => Lookup::Flight(
                self.over.clone(),
                stale.map(|records| (records, self.since + STALE_AFTER)),
            ),
        }
    }
}

impl<S> CacheInner<S> {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        // Whatever happened meanwhile, a slot is never left half written.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question on its way. Dropping it says what has become of it, also where that is nothing.
struct PendingQuery<S> {
    shared: Arc<CacheInner<S>>,
    question: Question,
    answer: Result<Answer, QueryFailure>,
    /// Dropped after the rest has been written down.
    _over: watch::Sender<()>,
}

impl<S> Drop for PendingQuery<S> {
    fn drop(&mut self) {
        let answer = std::mem::replace(&mut self.answer, Err(QueryFailure::Aborted));
        let now = Instant::now();
        let mut slots = self.shared.lock();
        let slot = slots.slot(&self.question, now);
        slot.flight = None;
        let before = slot.failed.take();
        match answer {
            Ok(answer) => {
                let had_records =
                    |known: &CachedName| known.is_lost || known.records != Records::Missing;
                let is_lost = answer.records == Records::Missing
                    && slot.known.as_ref().is_some_and(had_records);
                let holds = self.shared.terms.bounded(&answer);
                let fresh_until = now
                    + if is_lost {
                        holds.min(RENEW_EVERY)
                    } else {
                        holds
                    };
                let stale_until = fresh_until + self.shared.terms.stale;
                slot.known = Some(CachedName {
                    records: answer.records,
                    is_lost,
                    fresh_until,
                    stale_until,
                });
                if before.is_some() {
                    info!(name = %self.question.name, record = self.question.kind.word(), "a name is resolved again");
                }
            }
            Err(failure) => {
                let is_stale = slot
                    .known
                    .as_ref()
                    .is_some_and(|known| now < known.stale_until);
                if before.is_none() && failure != QueryFailure::Aborted {
                    let (name, record) = (&self.question.name, self.question.kind.word());
                    warn!(%name, record, error = %failure, last_known_answer = is_stale, "a name is not resolved");
                }
                let retry_at = now + if is_stale { RETRY_STALE } else { RETRY };
                slot.failed = Some(Failed { failure, retry_at });
            }
        }
    }
}

impl Ttls {
    fn bounded(&self, answer: &Answer) -> Duration {
        let ttl = answer
            .ttl
            .unwrap_or(DEFAULT_TTL)
            .max(self.min_ttl)
            .min(self.max_ttl);
        if answer.records == Records::Missing {
            ttl.min(MAX_NEGATIVE)
        } else {
            ttl
        }
    }
}
