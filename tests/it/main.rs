//! Behaviour of the program as a client, a server and an operator see it: every test runs the real
//! binary.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error has failed, also in a function that it calls"
)]

mod support;

mod balance;
mod check;
mod cli;
mod hello;
mod keys;
mod lifecycle;
mod limits;
mod listeners;
mod moved;
mod mtls;
mod names;
mod orders;
mod pastes;
mod pki;
mod policies;
mod proxy_protocol;
mod relay;
mod reload;
mod resolver;
mod secrets;
mod self_signed;
mod soak;
mod upstream;
mod variables;
mod zones;
