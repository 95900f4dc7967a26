//! Answers, for as long as they hold, and each question on its way once.
//!
//! An answer whose time is over is asked for again before it is used. When that leads to nothing the old one is still
//! better than none (RFC 8767), but only then: that there is no such name is an answer, too. An answer whose addresses lead
//! nowhere is renewed before its time is over ([`Cache::renew`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::net::resolve::question::{Answer, Failure, Question, Records, Source};

/// No longer than this is a name believed not to exist: a server that was just added must be found.
const MAX_NEGATIVE: Duration = Duration::from_secs(10);

/// What counts for an answer that has no time of its own.
const DEFAULT_TTL: Duration = Duration::from_secs(5);

/// A new answer is waited for so long where there is an old one. Most come within a few milliseconds; a client notices
/// no less than this.
const STALE_AFTER: Duration = Duration::from_millis(200);

/// After a failure nobody asks again for so long (RFC 9520 §3.2), and for longer where an old answer is at hand.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_STALE: Duration = Duration::from_secs(5);

/// An answer that leads nowhere is renewed no more often than this, whoever asks: a server that is down, and has not moved,
/// costs the DNS server one question a second. A name that is denied since then is asked for as often, because a container
/// that is made again has no address for a moment.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// A connection waits for a renewal no longer than this, so that DNS servers that are silent delay no failover for longer.
const RENEWAL_WAIT: Duration = Duration::from_secs(1);

/// With fewer questions than this nothing is forgotten, however old.
const MIN_SWEEP: usize = 1024;

/// For how long answers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) min_ttl: Duration,
    pub(super) max_ttl: Duration,
    /// After that, while nobody answers.
    pub(super) stale: Duration,
    /// For one question, all attempts together.
    pub(super) timeout: Duration,
}

/// The answers of one source.
pub(super) struct Cache<S> {
    shared: Arc<Shared<S>>,
    /// The questions on their way. They end with the cache.
    tasks: Mutex<JoinSet<()>>,
}

struct Shared<S> {
    source: S,
    terms: Terms,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    by_question: HashMap<Question, Slot>,
    /// At this size the next sweep takes place.
    sweep_at: usize,
}

#[derive(Default)]
struct Slot {
    known: Option<Known>,
    flight: Option<Flight>,
    failed: Option<Failed>,
    /// When it was last asked.
    asked: Option<Instant>,
    /// When it was last asked because the answer led nowhere.
    renewed: Option<Instant>,
}

struct Known {
    records: Records,
    /// The name had records before it was denied.
    is_lost: bool,
    fresh_until: Instant,
    stale_until: Instant,
}

/// A question on its way. The other end of the channel is dropped when it is over.
struct Flight {
    since: Instant,
    over: watch::Receiver<()>,
}

struct Failed {
    failure: Failure,
    retry_at: Instant,
}

/// What a question finds.
enum Found {
    Answer(Result<Records, Failure>),
    /// It is on its way; what to be content with, and when.
    Flight(watch::Receiver<()>, Option<(Records, Instant)>),
}

impl<S: Source> Cache<S> {
    pub(super) fn new(source: S, terms: Terms) -> Self {
        let shared = Arc::new(Shared { source, terms, slots: Mutex::default() });
        Self { shared, tasks: Mutex::default() }
    }

    /// The answer, which may be an old one. Whoever stops waiting does not stop the question.
    pub(super) async fn get(&self, question: Question) -> Result<Records, Failure> {
        loop {
            let (mut over, stale) = match self.find(&question) {
                Found::Answer(answer) => return answer,
                Found::Flight(over, stale) => (over, stale),
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

    /// Asks again although the answer may still hold, because since `failed_at` its addresses are known to lead nowhere.
    /// Returns when there is a newer answer, when there is none in time, or at once if the question was asked since
    /// then, or renewed within [`RENEW_EVERY`]. What was never asked is not asked.
    pub(super) async fn renew(&self, question: &Question, failed_at: Instant) {
        if let Some((mut over, until)) = self.renewal(question, failed_at) {
            let _ = timeout_at(until, over.changed()).await;
        }
    }

    /// What to wait for, and until when.
    fn renewal(&self, question: &Question, failed_at: Instant) -> Option<(watch::Receiver<()>, Instant)> {
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
        let known = slots.by_question.get(question).and_then(|slot| slot.known.as_ref());
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

    fn find(&self, question: &Question) -> Found {
        let now = Instant::now();
        let mut slots = self.shared.lock();
        let slot = slots.slot(question, now);
        if let Some(known) = slot.known.as_ref().filter(|known| now < known.fresh_until) {
            return Found::Answer(Ok(known.records.clone()));
        }
        let stale = slot.known.as_ref().filter(|known| now < known.stale_until).map(|known| known.records.clone());
        if let Some(flight) = &slot.flight {
            return flight.or(stale, now);
        }
        if let Some(failed) = slot.failed.as_ref().filter(|failed| now < failed.retry_at) {
            return Found::Answer(stale.ok_or_else(|| failed.failure.clone()));
        }
        let (flight, sender) = slot.depart(now);
        let found = flight.or(stale, now);
        drop(slots);
        self.ask(question, sender);
        found
    }

    /// Not while the slots are held: a runtime that shuts down drops what is spawned, which writes that down.
    fn ask(&self, question: &Question, over: watch::Sender<()>) {
        let (shared, question) = (Arc::clone(&self.shared), question.clone());
        let mut running = Running { shared, question, answer: Err(Failure::Aborted), _over: over };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let shared = Arc::clone(&running.shared);
            let answer = timeout(shared.terms.timeout, shared.source.ask(&running.question)).await;
            running.answer = answer.unwrap_or(Err(Failure::Late));
            drop(running);
        });
    }

    #[cfg(test)]
    fn source(&self) -> &S {
        &self.shared.source
    }
}

impl Slot {
    /// The question is on its way, for as long as the sender is there.
    fn depart(&mut self, now: Instant) -> (&Flight, watch::Sender<()>) {
        let (sender, over) = watch::channel(());
        self.asked = Some(now);
        (self.flight.insert(Flight { since: now, over }), sender)
    }
}

impl Flight {
    fn or(&self, stale: Option<Records>, now: Instant) -> Found {
        match stale {
            Some(records) if now >= self.since + STALE_AFTER => Found::Answer(Ok(records)),
            stale => Found::Flight(self.over.clone(), stale.map(|records| (records, self.since + STALE_AFTER))),
        }
    }
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        // Whatever happened meanwhile, a slot is never left half written.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// That of a question, which has most likely been asked before.
    fn slot(&mut self, question: &Question, now: Instant) -> &mut Slot {
        if !self.by_question.contains_key(question) {
            self.make_room(now);
            self.by_question.insert(question.clone(), Slot::default());
        }
        self.by_question.get_mut(question).expect("it is there, or was just put there")
    }

    /// Forgets, from time to time, what nobody could use: the targets of a service may have other names every day.
    fn make_room(&mut self, now: Instant) {
        if self.by_question.len() < self.sweep_at.max(MIN_SWEEP) {
            return;
        }
        self.by_question.retain(|_, slot| {
            let known = slot.known.as_ref().is_some_and(|known| now < known.stale_until.max(known.fresh_until));
            let failed = slot.failed.as_ref().is_some_and(|failed| now < failed.retry_at);
            known || failed || slot.flight.is_some()
        });
        self.sweep_at = 2 * self.by_question.len();
    }
}

/// A question on its way. Dropping it says what has become of it, also where that is nothing.
struct Running<S> {
    shared: Arc<Shared<S>>,
    question: Question,
    answer: Result<Answer, Failure>,
    /// Dropped after the rest has been written down.
    _over: watch::Sender<()>,
}

impl<S> Drop for Running<S> {
    fn drop(&mut self) {
        let answer = std::mem::replace(&mut self.answer, Err(Failure::Aborted));
        let now = Instant::now();
        let mut slots = self.shared.lock();
        let slot = slots.slot(&self.question, now);
        slot.flight = None;
        let before = slot.failed.take();
        match answer {
            Ok(answer) => {
                let had_records = |known: &Known| known.is_lost || known.records != Records::Missing;
                let is_lost = answer.records == Records::Missing && slot.known.as_ref().is_some_and(had_records);
                let holds = self.shared.terms.bounded(&answer);
                let fresh_until = now + if is_lost { holds.min(RENEW_EVERY) } else { holds };
                let stale_until = fresh_until + self.shared.terms.stale;
                slot.known = Some(Known { records: answer.records, is_lost, fresh_until, stale_until });
                if before.is_some() {
                    info!(name = %self.question.name, record = self.question.kind.word(), "a name is resolved again");
                }
            }
            Err(failure) => {
                let is_stale = slot.known.as_ref().is_some_and(|known| now < known.stale_until);
                if before.is_none() && failure != Failure::Aborted {
                    let (name, record) = (&self.question.name, self.question.kind.word());
                    warn!(%name, record, error = %failure, last_known_answer = is_stale, "a name is not resolved");
                }
                let retry_at = now + if is_stale { RETRY_STALE } else { RETRY };
                slot.failed = Some(Failed { failure, retry_at });
            }
        }
    }
}

impl Terms {
    fn bounded(&self, answer: &Answer) -> Duration {
        let ttl = answer.ttl.unwrap_or(DEFAULT_TTL).max(self.min_ttl).min(self.max_ttl);
        if answer.records == Records::Missing { ttl.min(MAX_NEGATIVE) } else { ttl }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{advance, pause, sleep};

    use super::*;
    use crate::net::resolve::question::Kind;

    /// Gives these answers in turn, each after its time, and counts the questions.
    #[derive(Default)]
    struct Script {
        answers: Mutex<VecDeque<(Duration, Result<Answer, Failure>)>>,
        asked: AtomicUsize,
    }

    impl Source for Script {
        async fn ask(&self, _: &Question) -> Result<Answer, Failure> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let (after, answer) = self.answers.lock().unwrap().pop_front().expect("no more answers");
            sleep(after).await;
            answer
        }
    }

    const TERMS: Terms = Terms {
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(3600),
        stale: Duration::from_secs(24 * 3600),
        timeout: Duration::from_secs(3),
    };

    fn cache(answers: impl IntoIterator<Item = (u64, Result<Answer, Failure>)>) -> Cache<Script> {
        let answers = answers.into_iter().map(|(ms, answer)| (Duration::from_millis(ms), answer)).collect();
        Cache::new(Script { answers: Mutex::new(answers), ..Script::default() }, TERMS)
    }

    fn address(last: u8) -> Records {
        Records::Addresses(Arc::from([IpAddr::from([192, 0, 2, last])]))
    }

    fn answer(last: u8, ttl: u64) -> Result<Answer, Failure> {
        Ok(Answer { records: address(last), ttl: Some(Duration::from_secs(ttl)) })
    }

    fn question() -> Question {
        Question { name: "app.example".into(), kind: Kind::V4 }
    }

    fn asked(cache: &Cache<Script>) -> usize {
        cache.source().asked.load(Ordering::SeqCst)
    }

    /// Timers have a grain of a millisecond.
    fn is_about(took: Duration, expected: Duration) -> bool {
        (expected..=expected + Duration::from_millis(2)).contains(&took)
    }

    const NEVER: u64 = 1_000_000;

    #[tokio::test]
    async fn an_answer_holds_for_its_time_to_live_and_not_longer() {
        pause();
        let cache = cache([(5, answer(1, 30)), (5, answer(2, 30))]);
        assert_eq!(cache.get(question()).await, Ok(address(1)));
        advance(Duration::from_secs(29)).await;
        assert_eq!(cache.get(question()).await, Ok(address(1)));
        assert_eq!(asked(&cache), 1);
        advance(Duration::from_secs(1)).await;
        assert_eq!(cache.get(question()).await, Ok(address(2)));
        assert_eq!(asked(&cache), 2);
    }

    #[tokio::test]
    async fn times_to_live_have_bounds() {
        let missing = |ttl| Ok(Answer { records: Records::Missing, ttl });
        for (given, holds) in [
            (answer(1, 0), 1),
            (answer(1, 100_000), 3600),
            (missing(Some(Duration::from_secs(900))), 10),
            (missing(Some(Duration::ZERO)), 1),
            (missing(None), 5),
        ] {
            assert_eq!(TERMS.bounded(&given.unwrap()), Duration::from_secs(holds), "{holds} s");
        }
    }

    #[tokio::test]
    async fn a_hundred_who_ask_at_once_make_one_question() {
        pause();
        let cache = Arc::new(cache([(50, answer(1, 30))]));
        let mut askers = JoinSet::new();
        for _ in 0..100 {
            let cache = Arc::clone(&cache);
            askers.spawn(async move { cache.get(question()).await });
        }
        assert!(askers.join_all().await.into_iter().all(|answer| answer == Ok(address(1))));
        assert_eq!(asked(&cache), 1);
    }

    #[tokio::test]
    async fn whoever_stops_waiting_does_not_stop_the_question() {
        pause();
        let cache = cache([(50, answer(1, 30))]);
        assert!(timeout(Duration::from_millis(10), cache.get(question())).await.is_err());
        assert_eq!(cache.get(question()).await, Ok(address(1)));
        assert_eq!(asked(&cache), 1);
    }

    #[tokio::test]
    async fn an_old_answer_is_given_when_nobody_answers_and_after_a_short_wait() {
        pause();
        let cache = cache([(5, answer(1, 30)), (NEVER, answer(9, 30)), (NEVER, answer(9, 30)), (5, answer(2, 30))]);
        let _ = cache.get(question()).await;
        advance(Duration::from_secs(31)).await;
        let start = Instant::now();
        assert_eq!(cache.get(question()).await, Ok(address(1)));
        assert!(is_about(start.elapsed(), STALE_AFTER));
        // The question is still on its way, and who comes later does not wait for it.
        assert_eq!(cache.get(question()).await, Ok(address(1)));
        assert!(is_about(start.elapsed(), STALE_AFTER));
        advance(TERMS.timeout).await;
        sleep(Duration::from_millis(1)).await;
        // It has failed, and for a while nobody asks again.
        assert_eq!(cache.get(question()).await, Ok(address(1)));
        assert_eq!(asked(&cache), 2);
        advance(RETRY_STALE).await;
        assert_eq!(cache.get(question()).await, Ok(address(1)));
        assert_eq!(asked(&cache), 3);
        advance(TERMS.timeout).await;
        sleep(Duration::from_millis(1)).await;
        advance(RETRY_STALE).await;
        assert_eq!(cache.get(question()).await, Ok(address(2)), "somebody answers again");
    }

    #[tokio::test]
    async fn an_answer_can_be_too_old() {
        pause();
        let cache = cache([(5, answer(1, 30)), (5, Err(Failure::Late))]);
        let _ = cache.get(question()).await;
        advance(Duration::from_secs(30) + TERMS.stale).await;
        assert_eq!(cache.get(question()).await, Err(Failure::Late));
    }

    #[tokio::test]
    async fn that_there_is_no_such_name_is_an_answer_and_takes_the_place_of_the_old_one() {
        pause();
        let missing = Ok(Answer { records: Records::Missing, ttl: None });
        let cache = cache([(5, answer(1, 30)), (5, missing)]);
        let _ = cache.get(question()).await;
        advance(Duration::from_secs(30)).await;
        assert_eq!(cache.get(question()).await, Ok(Records::Missing));
    }

    #[tokio::test]
    async fn a_failure_is_everybodys_and_is_not_repeated_at_once() {
        pause();
        let cache = cache([(NEVER, answer(9, 30)), (5, answer(1, 30))]);
        let start = Instant::now();
        let (a, b) = tokio::join!(cache.get(question()), cache.get(question()));
        assert_eq!((a, b), (Err(Failure::Late), Err(Failure::Late)));
        assert!(is_about(start.elapsed(), TERMS.timeout));
        assert_eq!(cache.get(question()).await, Err(Failure::Late));
        assert!(is_about(start.elapsed(), TERMS.timeout) && asked(&cache) == 1);
        advance(RETRY).await;
        assert_eq!(cache.get(question()).await, Ok(address(1)));
    }

    #[tokio::test]
    async fn a_question_that_panics_is_over() {
        let cache = cache([]);
        assert_eq!(cache.get(question()).await, Err(Failure::Aborted));
    }

    /// Has it renewed as whoever has just found that it leads nowhere, and then asks.
    async fn renewed(cache: &Cache<Script>) -> Result<Records, Failure> {
        cache.renew(&question(), Instant::now()).await;
        cache.get(question()).await
    }

    fn missing() -> Result<Answer, Failure> {
        Ok(Answer { records: Records::Missing, ttl: None })
    }

    #[tokio::test]
    async fn an_answer_that_leads_nowhere_is_asked_for_again_at_once_and_then_once_a_second() {
        pause();
        let cache = cache([(5, answer(1, 600)), (5, answer(1, 600)), (5, answer(2, 600))]);
        let _ = cache.get(question()).await;
        assert_eq!(renewed(&cache).await, Ok(address(1)), "it has not moved");
        for _ in 0..100 {
            advance(Duration::from_millis(9)).await;
            assert_eq!(renewed(&cache).await, Ok(address(1)));
        }
        assert_eq!(asked(&cache), 2);
        advance(RENEW_EVERY).await;
        assert_eq!(renewed(&cache).await, Ok(address(2)));
        assert_eq!(asked(&cache), 3);
    }

    #[tokio::test]
    async fn a_hundred_whose_answer_leads_nowhere_make_one_question_and_all_get_the_new_answer() {
        pause();
        let cache = Arc::new(cache([(5, answer(1, 600)), (50, answer(2, 600))]));
        let _ = cache.get(question()).await;
        let mut askers = JoinSet::new();
        for _ in 0..100 {
            let cache = Arc::clone(&cache);
            askers.spawn(async move { renewed(&cache).await });
        }
        assert!(askers.join_all().await.into_iter().all(|answer| answer == Ok(address(2))));
        assert_eq!(asked(&cache), 2);
    }

    #[tokio::test]
    async fn an_answer_that_was_asked_for_since_the_failure_is_not_renewed() {
        pause();
        let cache = cache([(5, answer(1, 600)), (5, answer(2, 600))]);
        let _ = cache.get(question()).await;
        let failed_at = Instant::now();
        advance(Duration::from_secs(700)).await;
        assert_eq!(cache.get(question()).await, Ok(address(2)));
        cache.renew(&question(), failed_at).await;
        assert_eq!(asked(&cache), 2);
    }

    #[tokio::test]
    async fn an_old_answer_that_leads_nowhere_is_renewed_although_dns_has_just_failed() {
        pause();
        let cache = cache([(5, answer(1, 30)), (5, Err(Failure::Late)), (5, answer(2, 30))]);
        let _ = cache.get(question()).await;
        advance(Duration::from_secs(31)).await;
        assert_eq!(cache.get(question()).await, Ok(address(1)));
        advance(Duration::from_millis(1)).await;
        assert_eq!(renewed(&cache).await, Ok(address(2)));
        assert_eq!(asked(&cache), 3);
    }

    #[tokio::test]
    async fn a_renewal_that_nobody_answers_is_not_waited_for_long_and_leaves_the_old_answer() {
        pause();
        let cache = cache([(5, answer(1, 600)), (NEVER, answer(9, 600))]);
        let _ = cache.get(question()).await;
        let start = Instant::now();
        assert_eq!(renewed(&cache).await, Ok(address(1)));
        assert!(is_about(start.elapsed(), RENEWAL_WAIT));
        advance(TERMS.timeout).await;
        sleep(Duration::from_millis(1)).await;
        assert_eq!(cache.get(question()).await, Ok(address(1)), "it still holds");
        assert_eq!(asked(&cache), 2);
    }

    #[tokio::test]
    async fn a_name_that_is_lost_is_asked_for_each_second_until_it_is_back() {
        pause();
        let cache = cache([(5, answer(1, 600)), (5, missing()), (5, missing()), (5, answer(2, 600))]);
        let _ = cache.get(question()).await;
        assert_eq!(renewed(&cache).await, Ok(Records::Missing));
        advance(RENEW_EVERY - Duration::from_millis(1)).await;
        assert_eq!(cache.get(question()).await, Ok(Records::Missing));
        assert_eq!(asked(&cache), 2);
        advance(Duration::from_millis(1)).await;
        assert_eq!(cache.get(question()).await, Ok(Records::Missing));
        advance(RENEW_EVERY).await;
        assert_eq!(cache.get(question()).await, Ok(address(2)));
        assert_eq!(asked(&cache), 4);
    }

    #[tokio::test]
    async fn what_is_expired_is_asked_again_and_still_of_use() {
        pause();
        let cache = cache([(5, answer(1, 30)), (5, Err(Failure::Late))]);
        let _ = cache.get(question()).await;
        cache.expire();
        assert_eq!(cache.get(question()).await, Ok(address(1)));
        assert_eq!(asked(&cache), 2);
    }

    #[tokio::test]
    async fn what_nobody_can_use_any_more_is_forgotten() {
        pause();
        let count = 3 * MIN_SWEEP;
        let cache = cache((0..count).map(|_| (0, answer(1, 30))));
        for at in 0..count {
            let _ = cache.get(Question { name: at.to_string().into(), kind: Kind::V4 }).await;
            if at == MIN_SWEEP {
                advance(Duration::from_secs(30) + TERMS.stale).await;
            }
        }
        let kept = cache.shared.lock().by_question.len();
        assert!(kept < count - MIN_SWEEP, "{kept}");
    }
}
