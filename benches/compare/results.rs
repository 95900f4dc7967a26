//! What was measured, and what follows from it.

use serde::Serialize;

use crate::cases::{Case, Entry, Target};
use crate::measure::{Latency, Spread};
use crate::peers::Proxy;

/// One proxy's turn at one case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// In the unit of the case.
    pub(crate) cost: f64,
    /// Connections, round trips or bytes in a second.
    pub(crate) throughput: f64,
    pub(crate) latency: Option<Latency>,
    /// The share of the time in which the proxy ran.
    pub(crate) busy: f64,
    /// The share of the time in which it could have run, but something else had its core.
    pub(crate) waited: f64,
    /// Bytes in a second that flowed beside what was measured.
    pub(crate) beside: Option<f64>,
}

/// All turns of one proxy at one case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) entry: Entry,
    /// By round; none where it failed or was given up.
    pub(crate) samples: Vec<Option<Sample>>,
    pub(crate) errors: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct CaseResult {
    pub(crate) case: Case,
    pub(crate) rows: Vec<Row>,
}

/// Whether snigate reaches the target of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) enum Verdict {
    Reached,
    Missed,
    /// There is no target, or nothing to compare with.
    Open,
}

impl Row {
    pub(crate) fn new(entry: Entry) -> Self {
        Self { entry, samples: Vec::new(), errors: Vec::new() }
    }

    pub(crate) fn spread(&self, value: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.samples.iter().flatten().filter_map(value))
    }

    pub(crate) fn cost(&self) -> Option<Spread> {
        self.spread(|sample| Some(sample.cost))
    }

    fn in_round(&self, round: usize) -> Option<&Sample> {
        self.samples.get(round)?.as_ref()
    }
}

impl CaseResult {
    /// Snigate's row, as it comes, in its largest form.
    pub(crate) fn snigate(&self) -> Option<&Row> {
        self.rows.iter().rfind(|row| row.entry.proxy == Proxy::Snigate)
    }

    /// The peer whose median is the least. One that failed once is none.
    pub(crate) fn best_peer(&self) -> Option<(&Row, f64)> {
        let peers = self.peers().filter_map(|row| Some((row, row.cost()?.median)));
        peers.min_by(|(_, one), (_, other)| one.total_cmp(other))
    }

    /// The row's cost as a multiple of what the case is compared with: the best peer of the same round, or, for many
    /// routes, the same proxy with one.
    pub(crate) fn ratio(&self, row: &Row) -> Option<Spread> {
        Spread::of((0..row.samples.len()).filter_map(|round| {
            let base = match self.case.target() {
                Target::OfOneRoute(_) => self.one_route(row)?.in_round(round)?.cost,
                _ => self.peers().filter_map(|peer| Some(peer.in_round(round)?.cost)).min_by(f64::total_cmp)?,
            };
            Some(row.in_round(round)?.cost / base)
        }))
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let judge = || {
            let row = self.snigate()?;
            let cost = row.cost()?.median;
            let ratio = || self.ratio(row).map(|ratio| ratio.median);
            let reached = match self.case.target() {
                Target::OfBestPeer(limit) | Target::OfOneRoute(limit) => ratio()? <= limit,
                Target::AtMostAndBest(limit) => cost <= limit && ratio()? < 1.0,
                Target::AtMost(limit) => cost <= limit,
                Target::None => return None,
            };
            Some(if reached && row.errors.is_empty() { Verdict::Reached } else { Verdict::Missed })
        };
        judge().unwrap_or(if self.snigate().is_some_and(|row| !row.errors.is_empty()) {
            Verdict::Missed
        } else {
            Verdict::Open
        })
    }

    fn peers(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.entry.proxy.is_peer() && row.errors.is_empty())
    }

    fn one_route(&self, row: &Row) -> Option<&Row> {
        self.rows.iter().find(|other| other.entry.proxy == row.entry.proxy && other.entry.routes == 1)
    }
}
