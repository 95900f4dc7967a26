//! X.509 certificates, revocation lists and paths: from bytes to facts and verdicts.
//!
//! Nothing here opens a file or a socket, and nothing asks the clock: the caller who asks whether a
//! certificate is valid says at what time.
//!
//! # The order of files
//!
//! Each uses only those that stand before it; `tests/layers.rs` holds that.
//!
//! ```text
//! algorithms < base64 < der < identity < dname < extensions < key_identifier < time < signed < defects < pem < ca < chain < crl < path < faults < issues
//! ```

pub(crate) mod algorithms;
pub(crate) mod base64;
pub(crate) mod ca;
pub(crate) mod chain;
pub(crate) mod crl;
pub(crate) mod defects;
pub(crate) mod der;
mod dname;
pub(crate) mod extensions;
mod faults;
pub(crate) mod identity;
pub(crate) mod issues;
pub(crate) mod key_identifier;
pub(crate) mod path;
pub(crate) mod pem;
pub(crate) mod signed;
pub(crate) mod time;

pub use ca::{CaCertificate, CaIssue};
pub use crl::{Crl, Depth, Expired, NotSpoken, Revocation, Unknown};
pub use defects::Defect;
pub use faults::AuthorityFault;
pub use issues::CertificateIssue;
pub use path::{MAX_AUTHORITIES_OF_ONE_NAME, Purpose};
pub use pem::{BundleError, CrlFileError, Foreign, Form, PemError};
pub use time::{CLOCK_SKEW, date};
