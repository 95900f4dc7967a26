//! Identities of clients, and the policy that admits or refuses them. Nothing here verifies
//! anything: what a certificate states is to be believed only after `tls` has verified it.

mod entry;
mod identity;
mod policy;

pub use entry::{
    CommonName, DnsError, DnsPattern, EmailAddress, EmailError, IssuerName, Organization,
    OrganizationalUnit, PrincipalName, Serial, SerialError, SpkiDigest, SpkiError, SubjectError,
    SubjectName, UriError, UriPattern,
};
pub use identity::{AltName, ClientCertificate, Identity, printable, push_printable};
pub use policy::{Denied, Policy, Rules};
