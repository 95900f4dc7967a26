//! Times of certificates and lists, for comparison and for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rustls_pki_types::UnixTime;
use x509_parser::time::ASN1Time;

/// Clocks differ: a certificate that begins within this time has begun.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// A time in UTC, for people (RFC 3339).
#[must_use]
pub fn date(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(
        |_| "an unrepresentable date".to_owned(),
        |time| time.to_string(),
    )
}

/// A time of a certificate or a list. Times before 1970 are taken as 1970.
pub(crate) fn system_time(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// A moment of webpki as the rest of the crate has it.
pub(crate) fn of_unix_time(time: UnixTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.as_secs())
}

/// A span of time in its largest unit of which there are at least two, for people.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}
