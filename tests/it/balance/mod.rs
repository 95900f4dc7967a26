//! Several servers: which of them a client gets, and what happens when one of them fails.

mod drained;
mod failure;
mod limits;
mod outage;
mod refused;
mod sources;

use std::fmt::Display;
use std::io::Write;
use std::net::{Shutdown, TcpStream};

use crate::support::backend::read_to_end;
use crate::support::hello::hello;
use crate::support::proxy::passthrough;

const NAME: &str = "a.example";

/// One passthrough route to these servers. `more` are keys of their table.
fn pool<S: Display>(servers: &[S], more: &str) -> String {
    let servers: Vec<String> = servers
        .iter()
        .map(|server| format!("\"{server}\""))
        .collect();
    pool_of(&servers.join(", "), more)
}

/// The same, with servers as they stand in the file.
fn pool_of(servers: &str, more: &str) -> String {
    let route = passthrough(NAME, "pool");
    format!(
        "[timeouts]\nconnect = \"1s\"\n{route}[upstreams.pool]\nservers = [{servers}]\n{more}\n"
    )
}

/// What a client gets to hear.
fn ask(mut client: TcpStream) -> Vec<u8> {
    client.write_all(&hello(NAME)).unwrap();
    // Who was refused may have been hung up on already.
    let _ = client.shutdown(Shutdown::Write);
    read_to_end(&mut client)
}
