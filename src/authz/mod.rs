//! Who a client is, as its certificate says, and whether such a client comes in. Nothing here verifies anything: what a
//! certificate says is to be believed only after `tls` has verified it.

mod identity;
mod policy;

pub use identity::{AltName, ClientCertificate, Identity, printable, push_printable};
pub use policy::{
    Denied, DnsError, DnsPattern, EmailAddress, EmailError, EmptyText, Policy, Rules, Serial, SerialError, SpkiDigest,
    SpkiError, SubjectText, UriError, UriPattern,
};
