//! Random numbers that spread load. They are not for secrets.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static STATE: LazyLock<AtomicU64> =
    LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(0)));

/// Any number. No two threads get the same sequence.
pub(crate) fn number() -> u64 {
    // Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014); the increment is
    // 2^64 over the golden ratio.
    mix(STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
}

/// The same number for the same bits, in every process and every version; every bit of it depends
/// on every bit of them.
pub(crate) fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// About this long, give or take `share` of it: what begins together does not come again together.
pub(crate) fn about(duration: Duration, share: f64) -> Duration {
    duration.mul_f64(1.0 + share * (2.0 * fraction(number()) - 1.0))
}

/// From the upper bits of a number one above 0 and at most 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits are what fits")]
pub(crate) fn fraction(number: u64) -> f64 {
    ((number >> 11) + 1) as f64 / (1_u64 << 53) as f64
}
