//! Failures of accept(2), and what each means.

use std::io;

use rustix::io::Errno;

/// The failures of accept(2), by what they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFailure {
    /// The one connection that was to be accepted. The next may be fine at once.
    Connection,
    /// The process or the machine: no descriptors, no memory. It passes when connections end, so
    /// wait a little.
    Resource,
}

impl From<&io::Error> for AcceptFailure {
    fn from(error: &io::Error) -> Self {
        // accept(2) reports errors that are already pending on the new connection.
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::TIMEDOUT
                | Errno::PERM,
            ) => Self::Connection,
            _ => Self::Resource,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_is_not_the_connections_fault() {
        for (errno, expected) in [
            (Errno::MFILE, AcceptFailure::Resource),
            (Errno::NFILE, AcceptFailure::Resource),
            (Errno::NOBUFS, AcceptFailure::Resource),
            (Errno::NOMEM, AcceptFailure::Resource),
            (Errno::CONNABORTED, AcceptFailure::Connection),
            (Errno::PROTO, AcceptFailure::Connection),
        ] {
            assert_eq!(
                AcceptFailure::from(&io::Error::from(errno)),
                expected,
                "{errno:?}"
            );
        }
    }
}
