//! Behaviour of the program as a client, a server and an operator see it: every test runs the real binary.

mod support;

mod cli;
mod hello;
mod lifecycle;
mod mtls;
mod names;
mod relay;
mod reload;
