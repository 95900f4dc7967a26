//! Tests of the relay, over loopback.

mod bulk;
mod ends;
mod support;
mod tls;
mod tls_upstream;
mod waits;
