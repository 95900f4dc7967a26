//! Weakening: what a client would meet by another configuration, compared with what it meets now,
//! where that would get weaker.
//!
//! Tables and routes may be renamed, moved and merged. What counts is what a client meets: for
//! every name, source and protocol that either configuration tells apart, a representative client
//! is looked up in both.

mod classes;
mod guard;
mod limits;
mod standing;
mod upstreams;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::{Cidr, ListenAddr, Sender};
use crate::config::model::Bind;
use crate::name::{Alpn, ServerName};
use crate::route::{Claim, Listed, LookupKey, Table};

use limits::{gone_limits, wider_limits};
pub use standing::Standing;
use standing::{Listener, Meets, Route};

/// The findings of what would get weaker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weakening {
    /// Protections that would be gone as a whole.
    pub vanished: Findings,
    /// Everything else that would be allowed and is not allowed now.
    pub loosened: Findings,
}

impl Weakening {
    /// Says all of it in other words: without the values of variables, say.
    pub fn rephrase(&mut self, words: impl Fn(&str) -> String) {
        self.vanished.rephrase(&words);
        self.loosened.rephrase(&words);
    }

    /// These files have lost what they had, whatever stands in the others.
    pub fn lose_files(&mut self, lost: impl Iterator<Item = String>) {
        lost.for_each(|text| self.vanished.add(None, text));
    }

    /// Whether nothing would get weaker.
    #[must_use]
    pub fn only_tightens(&self) -> bool {
        self.vanished.is_empty() && self.loosened.is_empty()
    }
}

/// Things that would get weaker, each once. Of many the first are kept, and the rest are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    kept: Vec<Finding>,
    more: usize,
}

/// Something that would get weaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The route that clients would meet, if it is one.
    pub route: Option<Arc<str>>,
    /// The loss, with the table that it is about.
    pub text: String,
}

/// A reader of a log has seen enough by then.
const MOST_FINDINGS: usize = 20;

impl Findings {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The first of them.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.kept.iter()
    }

    /// How many there are beside those that [`iter`](Self::iter) gives.
    #[must_use]
    pub fn more(&self) -> usize {
        self.more
    }

    /// All of them on one line.
    #[must_use]
    pub fn on_one_line(&self) -> String {
        let kept = self.kept.iter().map(|finding| finding.text.clone());
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        kept.chain(more).collect::<Vec<_>>().join("; ")
    }

    /// Says each in other words.
    pub fn rephrase(&mut self, words: impl Fn(&str) -> String) {
        for finding in &mut self.kept {
            finding.text = words(&finding.text);
        }
    }

    /// Adds something that is about no route.
    pub fn note(&mut self, text: String) {
        self.add(None, text);
    }

    fn add(&mut self, route: Option<&Arc<str>>, text: String) {
        if self.kept.len() < MOST_FINDINGS {
            let finding = Finding {
                route: route.map(Arc::clone),
                text,
            };
            if !self.kept.contains(&finding) {
                self.kept.push(finding);
            }
        } else if !self.kept.iter().any(|finding| finding.text == text) {
            self.more += 1;
        }
    }
}

/// The findings of what `new` forbids and `old` does not, in words for while `new` is not served:
/// what clients meet without it.
#[must_use]
pub fn without(old: &Standing, new: &Standing) -> Findings {
    let Weakening {
        vanished: mut all,
        loosened,
    } = compare(new, old);
    all.more += loosened.more;
    for Finding { route, text } in loosened.kept {
        all.add(route.as_ref(), text);
    }
    all.rephrase(meanwhile);
    all
}

/// How what would be is said where it is so until something else acts.
const MEANWHILE: &[(&str, &str)] = &[
    (" is new", " goes on"),
    (" would no longer name ", " does not name yet "),
    (" would no longer pass ", " do not pass yet "),
    (" would name fewer ", " names fewer "),
    (" would be replaced by an older one", " is an older one"),
    (" would be raised", " is not lowered yet"),
    (" would be known", " is known"),
    (
        "servers of another CA would be believed",
        "servers of another CA are believed",
    ),
    (" would be believed", " is believed"),
    (" would have ", " have "),
    (" would count ", " counts "),
    (" would come in", " come in"),
    (" would listen ", " listens "),
    (" would take ", " takes "),
    (" who are refused now", " whom it refuses then"),
    (" would go for ", " does not act yet for "),
    (" would go", " does not act yet"),
];

/// The same finding in the words of [`without`].
fn meanwhile(text: &str) -> String {
    MEANWHILE
        .iter()
        .fold(text.to_owned(), |text, (would, does)| {
            text.replace(would, does)
        })
}

/// Finds what would get weaker for clients if `new` were served in place of `old`.
#[must_use]
pub fn compare(old: &Standing, new: &Standing) -> Weakening {
    let mut comparison = Comparison {
        old,
        new,
        weakening: Weakening::default(),
        same: HashMap::new(),
        guards: HashMap::new(),
        met: HashSet::new(),
        let_in: HashSet::new(),
    };
    let mut tables: Vec<[&Arc<Table<usize>>; 2]> = Vec::new();
    let gone = old.gone(new);
    for (name, listener) in &new.listeners {
        let mut befores = old.listeners(name, listener);
        let binds = || befores.iter().flat_map(|before| &before.bind);
        let is_wider = |bind: &&Bind| {
            !binds().any(|old| old.addr == bind.addr || old.addr.includes(&bind.addr))
        };
        let wider: Vec<&Bind> = listener.bind.iter().filter(is_wider).collect();
        if befores.is_empty() {
            comparison
                .weakening
                .loosened
                .add(None, format!("listeners.{name} is new"));
        } else {
            for bind in &wider {
                comparison.weakening.loosened.add(
                    None,
                    format!("listeners.{name} would listen on {}", bind.addr),
                );
            }
        }
        // Under another name and address it may be the door that clients of one that is gone are
        // sent to.
        befores.extend(gone.iter().filter(|_| !wider.is_empty()));
        for before in befores {
            comparison.listener(name, before, listener);
            // Listeners that have all routes share one table.
            let is_known = |[old, new]: &[&Arc<_>; 2]| {
                Arc::ptr_eq(old, &before.table) && Arc::ptr_eq(new, &listener.table)
            };
            if !tables.iter().any(is_known) {
                tables.push([&before.table, &listener.table]);
                comparison.tables(before, listener);
            }
        }
    }
    comparison.weakening
}

struct Comparison<'a> {
    old: &'a Standing,
    new: &'a Standing,
    weakening: Weakening,
    /// Whether a route of before and one of now ask the same of clients.
    same: HashMap<(usize, usize), bool>,
    /// The same of two `[tls]` tables.
    guards: HashMap<(usize, usize), bool>,
    /// Pairs of routes that have been compared: a client that met the one would meet the other.
    met: HashSet<(usize, usize)>,
    /// Routes that would admit a client which is refused now, and why that is not new.
    let_in: HashSet<(usize, Option<Gone>)>,
}

/// The reason why a client was kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Gone {
    Reject,
    From,
    Listeners,
    StrictSni,
}

/// A client that stands for all whom both tables treat alike.
struct Client<'a> {
    listed: Listed<'a>,
    name: Option<&'a ServerName>,
    ip: Option<IpAddr>,
    alpn: &'a [Alpn],
}

type Claims<'a> = Vec<Claim<'a, usize>>;

impl<'a> Comparison<'a> {
    fn listener(&mut self, name: &str, old: &Listener, new: &Listener) {
        let Weakening { vanished, loosened } = &mut self.weakening;
        let added: Vec<&Sender> = new
            .proxies
            .iter()
            .filter(|sender| !old.proxies.contains(sender))
            .collect();
        if !old.proxies.is_empty() && new.proxies.is_empty() {
            vanished.add(None, format!("listeners.{name}: proxy_protocol would go"));
        } else if let Some(sender) = added.first() {
            loosened.add(
                None,
                format!("listeners.{name}: proxy_protocol.from would take {sender}"),
            );
        }
        for limit in gone_limits(&old.limits, &new.limits) {
            vanished.add(None, format!("listeners.{name}: {limit} would go"));
        }
        for limit in wider_limits(&old.limits, &new.limits) {
            loosened.add(None, format!("listeners.{name}: {limit} would be raised"));
        }
        let is_open = |bind: &&Bind| matches!(bind.addr, ListenAddr::Unix(_));
        for bind in new.bind.iter().filter(is_open) {
            let before = old.bind.iter().find(|before| before.addr == bind.addr);
            if before.is_some_and(|before| before.access != bind.access) {
                loosened.add(
                    None,
                    format!(
                        "listeners.{name}: other users could connect to {}",
                        bind.addr
                    ),
                );
            }
        }
    }

    fn tables(&mut self, old: &'a Listener, new: &'a Listener) {
        let listed: HashSet<Name> = old
            .table
            .listed()
            .chain(new.table.listed())
            .map(Name::from)
            .collect();
        let mut listed: Vec<Name> = listed.into_iter().collect();
        // What is said of many names is said of the same ones each time.
        listed.sort_unstable();
        for name in listed.iter().map(Name::listed).chain([Listed::Nameless]) {
            let (before, after) = (candidates(&old.table, name), candidates(&new.table, name));
            if !self.are_same(&before, &after) {
                self.name(name, (old, &before), (new, &after));
            }
        }
    }

    /// Whether all clients meet the same by both.
    fn are_same(&mut self, before: &Claims<'_>, after: &Claims<'_>) -> bool {
        before.len() == after.len()
            && before.iter().zip(after).all(|(before, after)| {
                before.from == after.from
                    && before.alpn == after.alpn
                    && self.is_same(*before.target, *after.target)
            })
    }

    fn is_same(&mut self, old: usize, new: usize) -> bool {
        let (before, after) = (&self.old.routes[old], &self.new.routes[new]);
        let guards = &mut self.guards;
        *self.same.entry((old, new)).or_insert_with(|| {
            let is_same = match (&before.meets, &after.meets) {
                (Meets::Session(one), Meets::Session(other)) => {
                    let (one, other): (&Arc<_>, &Arc<_>) = (one, other);
                    let key = (Arc::as_ptr(one).addr(), Arc::as_ptr(other).addr());
                    *guards.entry(key).or_insert_with(|| one.is_same(other))
                }
                (Meets::Server, Meets::Server) | (Meets::Nothing, Meets::Nothing) => true,
                _ => false,
            };
            is_same && before.is_same_but_for_guard(after)
        })
    }

    /// Looks up a client of each kind that the claims tell apart.
    fn name(
        &mut self,
        listed: Listed<'_>,
        before: (&Listener, &Claims<'a>),
        after: (&Listener, &Claims<'a>),
    ) {
        let Some(name) = probe(listed, &before.0.table, &after.0.table) else {
            return;
        };
        let claims = || before.1.iter().chain(after.1);
        let ranges: BTreeSet<Cidr> = claims().filter_map(|claim| claim.from).collect();
        let protocols: BTreeSet<&[u8]> = claims()
            .filter_map(|claim| Some(claim.alpn?.as_bytes()))
            .collect();
        let protocols: Vec<Alpn> = protocols
            .into_iter()
            .filter_map(|protocol| Alpn::new(protocol).ok())
            .collect();
        let offers = protocols.iter().map(std::slice::from_ref).chain([&[][..]]);
        let sources = classes::representatives(&ranges);
        for alpn in offers {
            for ip in &sources {
                let client = Client {
                    listed,
                    name: name.as_ref(),
                    ip: *ip,
                    alpn,
                };
                self.client(&client, before, after);
            }
        }
    }

    fn client(
        &mut self,
        client: &Client<'_>,
        before: (&Listener, &Claims<'a>),
        after: (&Listener, &Claims<'a>),
    ) {
        let key = LookupKey {
            name: client.name,
            client: client.ip,
            alpn: client.alpn,
        };
        let (old, new) = (
            before.0.table.lookup(&key).copied(),
            after.0.table.lookup(&key).copied(),
        );
        let Some(new) = new.filter(|new| self.new.routes[*new].admits()) else {
            return;
        };
        match old.filter(|old| self.old.routes[*old].admits()) {
            Some(old) => self.route(old, new),
            None => self.newcomer(client, old, new, before, after),
        }
    }

    /// Clients of the route `old` would meet `new`.
    fn route(&mut self, old: usize, new: usize) {
        if self.met.insert((old, new)) && !self.is_same(old, new) {
            let (old, new) = (&self.old.routes[old], &self.new.routes[new]);
            new.compare(old, &mut self.weakening);
        }
    }

    /// A client that is refused now, by `old` or by nobody, would be taken by `new`.
    fn newcomer(
        &mut self,
        client: &Client<'_>,
        old: Option<usize>,
        new: usize,
        before: (&Listener, &Claims<'a>),
        after: (&Listener, &Claims<'a>),
    ) {
        let gone = self.gone(client, old, new, before, after);
        if !self.let_in.insert((new, gone)) {
            return;
        }
        let route = &self.new.routes[new].name;
        let name = client
            .name
            .map_or("clients without a name".to_owned(), |_| {
                match client.listed {
                    Listed::Exact(name) => format!("clients for {name}"),
                    Listed::Wildcard(suffix) => format!("clients for *.{suffix}"),
                    Listed::Below(suffix) => format!("clients for **.{suffix}"),
                    Listed::Any | Listed::Nameless => "clients for any name".to_owned(),
                }
            });
        let Weakening { vanished, loosened } = &mut self.weakening;
        match gone {
            None => loosened.add(
                Some(route),
                format!("routes.{route} would take {name} who are refused now"),
            ),
            Some(Gone::Reject) => {
                vanished.add(
                    Some(route),
                    format!("routes.{route}: action \"reject\" would go for {name}"),
                );
            }
            Some(Gone::From) => {
                let source = client.ip.map_or("without an address".to_owned(), |ip| {
                    format!("from {ip}, say,")
                });
                vanished.add(
                    Some(route),
                    format!("routes.{route}: from would go: {name} {source} would come in"),
                );
            }
            Some(Gone::Listeners) => {
                let listener = &after.0.name;
                vanished.add(
                    Some(route),
                    format!(
                        "routes.{route}: listeners would go: {name} would come in by {listener}"
                    ),
                );
            }
            Some(Gone::StrictSni) => {
                vanished.add(
                    Some(route),
                    format!("routes.{route}: strict_sni would go: {name} would come in"),
                );
            }
        }
    }

    /// The reason why the client was kept out as a whole; `None` if it comes in by an entry that is
    /// new.
    fn gone(
        &self,
        client: &Client<'_>,
        old: Option<usize>,
        new: usize,
        (before, claims_before): (&Listener, &Claims<'a>),
        (after, claims_after): (&Listener, &Claims<'a>),
    ) -> Option<Gone> {
        if client.listed == Listed::Nameless {
            return self
                .was_strict(new, before, after)
                .then_some(Gone::StrictSni);
        }
        if before.table.claims(client.listed).next().is_none() {
            let restricted = |listener: &Listener| {
                let claims = listener.table.claims(client.listed);
                claims
                    .into_iter()
                    .any(|claim| self.old.routes[*claim.target].on_some_listeners)
            };
            let was_elsewhere = self.old.listeners.values().any(restricted);
            return (was_elsewhere && !self.new.routes[new].on_some_listeners)
                .then_some(Gone::Listeners);
        }
        // The ranges that let the client in, the narrowest of which has.
        let range = claims_after
            .iter()
            .filter(|claim| *claim.target == new)
            .filter_map(|claim| claim.from);
        let range = range
            .filter(|range| client.ip.is_some_and(|ip| range.contains(ip)))
            .max_by_key(Cidr::prefix_len);
        let is_new = |range: &Cidr| !claims_before.iter().any(|claim| claim.from == Some(*range));
        if range
            .filter(|range| range.prefix_len() > 0)
            .is_some_and(|range| is_new(&range))
        {
            return None;
        }
        if old.is_some() {
            return Some(Gone::Reject);
        }
        // A client that may offer another protocol could come in before: by the name itself, since
        // what a less specific one takes says nothing of its sources.
        let mut offers = before
            .table
            .claims(client.listed)
            .filter_map(|claim| claim.alpn);
        let could = |alpn: &Alpn| {
            let key = LookupKey {
                name: client.name,
                client: client.ip,
                alpn: std::slice::from_ref(alpn),
            };
            before
                .table
                .lookup(&key)
                .is_some_and(|old| self.old.routes[*old].admits())
        };
        (!offers.any(could)).then_some(Gone::From)
    }

    /// Whether a route that lists one of the same names was strict.
    fn was_strict(&self, new: usize, before: &Listener, after: &Listener) -> bool {
        let by_name = self
            .old
            .routes
            .iter()
            .any(|old| old.name == self.new.routes[new].name && old.is_strict);
        by_name
            || after.table.listed().any(|listed| {
                let is_own = after.table.claims(listed).any(|claim| *claim.target == new);
                is_own
                    && before
                        .table
                        .claims(listed)
                        .any(|claim| self.old.routes[*claim.target].is_strict)
            })
    }
}

/// A name that is listed, in an order, by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Name<'a> {
    Exact(&'a str),
    Wildcard(&'a str),
    Below(&'a str),
    Any,
}

impl<'a> Name<'a> {
    fn from(listed: Listed<'a>) -> Self {
        match listed {
            Listed::Exact(name) => Self::Exact(name),
            Listed::Wildcard(suffix) => Self::Wildcard(suffix),
            Listed::Below(suffix) => Self::Below(suffix),
            Listed::Any | Listed::Nameless => Self::Any,
        }
    }

    fn listed(&self) -> Listed<'a> {
        match self {
            Self::Exact(name) => Listed::Exact(name),
            Self::Wildcard(suffix) => Listed::Wildcard(suffix),
            Self::Below(suffix) => Listed::Below(suffix),
            Self::Any => Listed::Any,
        }
    }
}

/// Every claim that may take a client for this name, in an order that does not depend on the table.
fn candidates<'a>(table: &'a Table<usize>, name: Listed<'_>) -> Claims<'a> {
    let mut claims: Claims<'a> = table.claims(name).collect();
    let takes_all = |claims: &Claims<'_>| {
        claims
            .iter()
            .any(|claim| claim.from.is_none() && claim.alpn.is_none())
    };
    // What is less specific is asked only where nothing takes everybody.
    let mut wider = Vec::new();
    match name {
        Listed::Exact(name) => {
            let parents = suffixes(Some(name)).skip(1);
            wider.extend(parents.clone().next().map(Listed::Wildcard));
            wider.extend(parents.map(Listed::Below));
        }
        Listed::Wildcard(suffix) => wider.extend(suffixes(Some(suffix)).map(Listed::Below)),
        Listed::Below(suffix) => wider.extend(suffixes(Some(suffix)).skip(1).map(Listed::Below)),
        Listed::Any | Listed::Nameless => {}
    }
    wider.extend(
        matches!(
            name,
            Listed::Exact(_) | Listed::Wildcard(_) | Listed::Below(_)
        )
        .then_some(Listed::Any),
    );
    for listed in wider {
        if takes_all(&claims) {
            break;
        }
        claims.extend(table.claims(listed));
    }
    claims.sort_by_key(|claim| (claim.from, claim.alpn.map(Alpn::as_bytes), *claim.target));
    claims
}

/// This suffix and those that it ends in, the longest first.
fn suffixes(longest: Option<&str>) -> impl Iterator<Item = &str> + Clone {
    std::iter::successors(longest, |suffix| {
        suffix.split_once('.').map(|(_, rest)| rest)
    })
}

/// A name that stands for all that are `listed` so; nothing inside if that is no name. None where
/// there can be no name.
fn probe(listed: Listed<'_>, old: &Table<usize>, new: &Table<usize>) -> Option<Option<ServerName>> {
    let is_listed = |listed: Listed<'_>| {
        [old, new]
            .iter()
            .any(|table| table.claims(listed).next().is_some())
    };
    let is_closer = |name: &ServerName| {
        let parent = name.parent().is_some_and(|parent| {
            [Listed::Wildcard(parent), Listed::Below(parent)]
                .into_iter()
                .any(is_listed)
        });
        parent || is_listed(Listed::Exact(name.as_str()))
    };
    match listed {
        Listed::Nameless => Some(None),
        Listed::Exact(name) => name.parse().ok().map(Some),
        Listed::Wildcard(suffix) => {
            // A suffix of the greatest length leaves no room for a label.
            let mut names =
                (0_u64..).map_while(|label| format!("{label}.{suffix}").parse::<ServerName>().ok());
            names
                .find(|name| !is_listed(Listed::Exact(name.as_str())))
                .map(Some)
        }
        Listed::Below(suffix) => {
            let mut names = (0_u64..)
                .map_while(|label| format!("x.any-{label}.{suffix}").parse::<ServerName>().ok());
            names.find(|name| !is_closer(name)).map(Some)
        }
        Listed::Any => {
            let mut names =
                (0_u64..).map_while(|label| format!("x.any-{label}").parse::<ServerName>().ok());
            names.find(|name| !is_closer(name)).map(Some)
        }
    }
}

impl Route {
    /// Whether clients come in at all.
    fn admits(&self) -> bool {
        !matches!(self.meets, Meets::Nothing)
    }
}

#[cfg(test)]
mod tests;
