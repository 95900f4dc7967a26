//! The cache with a scripted source of names, and the time standing still.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::{advance, pause, sleep};

use super::*;
use crate::net::resolve::cache::slots::MIN_SWEEP;
use crate::net::resolve::question::RecordKind;

/// Gives these answers in turn, each after its time, and counts the questions.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<(Duration, Result<Answer, QueryFailure>)>>,
    asked: AtomicUsize,
}

impl AnswerSource for Script {
    async fn ask(&self, _: &Question) -> Result<Answer, QueryFailure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (after, answer) = self
            .answers
            .lock()
            .unwrap()
            .pop_front()
            .expect("no more answers");
        sleep(after).await;
        answer
    }
}

const TERMS: Ttls = Ttls {
    min_ttl: Duration::from_secs(1),
    max_ttl: Duration::from_secs(3600),
    stale: Duration::from_secs(24 * 3600),
    timeout: Duration::from_secs(3),
};

fn cache(answers: impl IntoIterator<Item = (u64, Result<Answer, QueryFailure>)>) -> Cache<Script> {
    let answers = answers
        .into_iter()
        .map(|(ms, answer)| (Duration::from_millis(ms), answer))
        .collect();
    Cache::new(
        Script {
            answers: Mutex::new(answers),
            ..Script::default()
        },
        TERMS,
    )
}

fn address(last: u8) -> Records {
    Records::Addresses(Arc::from([IpAddr::from([192, 0, 2, last])]))
}

fn answer(last: u8, ttl: u64) -> Result<Answer, QueryFailure> {
    Ok(Answer {
        records: address(last),
        ttl: Some(Duration::from_secs(ttl)),
    })
}

fn question() -> Question {
    Question {
        name: "app.example".into(),
        kind: RecordKind::V4,
    }
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
    let missing = |ttl| {
        Ok(Answer {
            records: Records::Missing,
            ttl,
        })
    };
    for (given, holds) in [
        (answer(1, 0), 1),
        (answer(1, 100_000), 3600),
        (missing(Some(Duration::from_secs(900))), 10),
        (missing(Some(Duration::ZERO)), 1),
        (missing(None), 5),
    ] {
        assert_eq!(
            TERMS.bounded(&given.unwrap()),
            Duration::from_secs(holds),
            "{holds} s"
        );
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
    assert!(
        askers
            .join_all()
            .await
            .into_iter()
            .all(|answer| answer == Ok(address(1)))
    );
    assert_eq!(asked(&cache), 1);
}

#[tokio::test]
async fn whoever_stops_waiting_does_not_stop_the_question() {
    pause();
    let cache = cache([(50, answer(1, 30))]);
    assert!(
        timeout(Duration::from_millis(10), cache.get(question()))
            .await
            .is_err()
    );
    assert_eq!(cache.get(question()).await, Ok(address(1)));
    assert_eq!(asked(&cache), 1);
}

#[tokio::test]
async fn an_old_answer_is_given_when_nobody_answers_and_after_a_short_wait() {
    pause();
    let cache = cache([
        (5, answer(1, 30)),
        (NEVER, answer(9, 30)),
        (NEVER, answer(9, 30)),
        (5, answer(2, 30)),
    ]);
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
    assert_eq!(
        cache.get(question()).await,
        Ok(address(2)),
        "somebody answers again"
    );
}

#[tokio::test]
async fn an_answer_can_be_too_old() {
    pause();
    let cache = cache([(5, answer(1, 30)), (5, Err(QueryFailure::Late))]);
    let _ = cache.get(question()).await;
    advance(Duration::from_secs(30) + TERMS.stale).await;
    assert_eq!(cache.get(question()).await, Err(QueryFailure::Late));
}

#[tokio::test]
async fn that_there_is_no_such_name_is_an_answer_and_takes_the_place_of_the_old_one() {
    pause();
    let missing = Ok(Answer {
        records: Records::Missing,
        ttl: None,
    });
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
    assert_eq!((a, b), (Err(QueryFailure::Late), Err(QueryFailure::Late)));
    assert!(is_about(start.elapsed(), TERMS.timeout));
    assert_eq!(cache.get(question()).await, Err(QueryFailure::Late));
    assert!(is_about(start.elapsed(), TERMS.timeout) && asked(&cache) == 1);
    advance(RETRY).await;
    assert_eq!(cache.get(question()).await, Ok(address(1)));
}

#[tokio::test]
async fn a_question_that_panics_is_over() {
    let cache = cache([]);
    assert_eq!(cache.get(question()).await, Err(QueryFailure::Aborted));
}

/// Has it renewed as whoever has just found that it leads nowhere, and then asks.
async fn renewed(cache: &Cache<Script>) -> Result<Records, QueryFailure> {
    cache.renew(&question(), Instant::now()).await;
    cache.get(question()).await
}

fn missing() -> Result<Answer, QueryFailure> {
    Ok(Answer {
        records: Records::Missing,
        ttl: None,
    })
}

#[tokio::test]
async fn an_answer_that_leads_nowhere_is_asked_for_again_at_once_and_then_once_a_second() {
    pause();
    let cache = cache([
        (5, answer(1, 600)),
        (5, answer(1, 600)),
        (5, answer(2, 600)),
    ]);
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
    assert!(
        askers
            .join_all()
            .await
            .into_iter()
            .all(|answer| answer == Ok(address(2)))
    );
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
    let cache = cache([
        (5, answer(1, 30)),
        (5, Err(QueryFailure::Late)),
        (5, answer(2, 30)),
    ]);
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
    assert_eq!(
        cache.get(question()).await,
        Ok(address(1)),
        "it still holds"
    );
    assert_eq!(asked(&cache), 2);
}

#[tokio::test]
async fn a_name_that_is_lost_is_asked_for_each_second_until_it_is_back() {
    pause();
    let cache = cache([
        (5, answer(1, 600)),
        (5, missing()),
        (5, missing()),
        (5, answer(2, 600)),
    ]);
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
    let cache = cache([(5, answer(1, 30)), (5, Err(QueryFailure::Late))]);
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
        let _ = cache
            .get(Question {
                name: at.to_string().into(),
                kind: RecordKind::V4,
            })
            .await;
        if at == MIN_SWEEP {
            advance(Duration::from_secs(30) + TERMS.stale).await;
        }
    }
    let kept = cache.shared.lock().by_question.len();
    assert!(kept < count - MIN_SWEEP, "{kept}");
}
