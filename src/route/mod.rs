//! Routes: rules, and the table that looks clients up in them.
//!
//! Of all rules that match a client the most specific one takes it. The order in which they were
//! written never matters, and two rules that no client could tell apart are an [`Overlap`], not a
//! choice.

mod named;
mod names;
mod sources;
mod table;

use std::cmp::Reverse;
use std::net::IpAddr;

use thiserror::Error;

use crate::addr::Cidr;
use crate::name::{Alpn, Closeness, NamePattern, ServerName};

pub use table::{Claim, Listed, Overlap, Table};

/// A rule: what a route asks of a client, and the route itself.
#[derive(Clone, Debug)]
pub struct Rule<T> {
    /// Server names; one of them must match.
    pub names: Vec<NamePattern>,
    /// Client addresses; every client when empty.
    pub from: Vec<Cidr>,
    /// Protocols, of which the client must offer one; every client when empty.
    pub alpn: Vec<Alpn>,
    /// Whether a client must send a server name. If not, the rule also takes clients that send
    /// none.
    pub strict_sni: bool,
    /// The route, or whatever takes the client.
    pub target: T,
}

/// The facts of a client when it is routed.
#[derive(Clone, Copy, Debug)]
pub struct LookupKey<'a> {
    /// The server name it sent; none also stands for an IP literal.
    pub name: Option<&'a ServerName>,
    /// Its address, if it has one: a client over a unix socket is in no range.
    pub client: Option<IpAddr>,
    /// The protocols it offers, the preferred one first. Of a list of the client's making, what
    /// [`Table::relevant`] leaves.
    pub alpn: &'a [Alpn],
}

/// How closely a rule matches a client; the greatest takes it.
///
/// An exact name beats a wildcard beats a longer suffix beats a shorter one beats `*`; then a
/// longer source prefix beats a shorter one beats none; then the protocol that the client prefers
/// beats a later one beats none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    name: Closeness,
    prefix_len: Option<u8>,
    alpn: Option<Reverse<usize>>,
}

/// Why a rule does not take a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Mismatch {
    /// The client sent no name and the rule is strict.
    #[error("it wants a server name (strict_sni) and the client sends none")]
    NoName,
    /// None of the rule's names matches.
    #[error("none of its names matches")]
    Name,
    /// The client's address is in none of the rule's ranges.
    #[error("the client's address is not in `from`")]
    From,
    /// The client offers none of the rule's protocols.
    #[error("the client offers none of its `alpn` protocols")]
    Alpn,
}

impl<T> Rule<T> {
    /// Judges this rule alone, by reading it: what [`Table::lookup`] must agree with.
    ///
    /// # Errors
    ///
    /// The first reason for which the rule does not take the client.
    pub fn judge(&self, key: &LookupKey<'_>) -> Result<Specificity, Mismatch> {
        let name = match key.name {
            Some(name) => self
                .names
                .iter()
                .filter(|pattern| pattern.matches(name))
                .map(NamePattern::closeness)
                .max(),
            None if self.strict_sni => return Err(Mismatch::NoName),
            None => self.names.iter().map(NamePattern::closeness).min(),
        };
        let name = name.ok_or(Mismatch::Name)?;
        let prefix_len = self
            .from
            .iter()
            .filter(|range| key.client.is_some_and(|ip| range.contains(ip)));
        let prefix_len = prefix_len.map(Cidr::prefix_len).max();
        if prefix_len.is_none() && !self.from.is_empty() {
            return Err(Mismatch::From);
        }
        let alpn = key
            .alpn
            .iter()
            .position(|protocol| self.alpn.contains(protocol))
            .map(Reverse);
        if alpn.is_none() && !self.alpn.is_empty() {
            return Err(Mismatch::Alpn);
        }
        Ok(Specificity {
            name,
            prefix_len,
            alpn,
        })
    }

    fn takes_any_name(&self) -> bool {
        self.names.contains(&NamePattern::Any)
    }
}
