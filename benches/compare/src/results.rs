//! What was measured, and what follows from it.

use serde::Serialize;

use crate::cases::{Base, Case, Entry, Target};
use crate::measure::{Latency, Spread};
use crate::peers::Proxy;
use crate::setup::Form;

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
        Self {
            entry,
            samples: Vec::new(),
            errors: Vec::new(),
        }
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
    /// Snigate's row, as it comes, in the form that the case is about.
    pub(crate) fn snigate(&self) -> Option<&Row> {
        self.rows
            .iter()
            .rfind(|row| row.entry.proxy == Proxy::Snigate)
    }

    /// The rows that `target` is about: every form of snigate but the plain one, where that is what
    /// they are compared with.
    pub(crate) fn judged(&self, target: Target) -> Vec<&Row> {
        match target {
            Target::Of(Base::Plain, _) => {
                let forms =
                    |row: &&Row| row.entry.proxy == Proxy::Snigate && row.entry.form != Form::Plain;
                self.rows.iter().filter(forms).collect()
            }
            _ => self.snigate().into_iter().collect(),
        }
    }

    /// The row among those that `row` is compared with whose median is the least. One that failed
    /// once is none.
    pub(crate) fn best<'a>(&'a self, base: Base, row: &'a Row) -> Option<(&'a Row, f64)> {
        let rows = self
            .base(base, row)
            .filter_map(|row| Some((row, row.cost()?.median)));
        rows.min_by(|(_, one), (_, other)| one.total_cmp(other))
    }

    /// The row's cost as a multiple of the least in the same round among those that it is compared
    /// with.
    pub(crate) fn ratio(&self, base: Base, row: &Row) -> Option<Spread> {
        Spread::of((0..row.samples.len()).filter_map(|round| {
            let base = self
                .base(base, row)
                .filter_map(|other| Some(other.in_round(round)?.cost));
            Some(row.in_round(round)?.cost / base.min_by(f64::total_cmp)?)
        }))
    }

    pub(crate) fn verdict(&self, target: Target, row: &Row) -> Verdict {
        if !row.errors.is_empty() {
            return Verdict::Missed;
        }
        let judge = || {
            let cost = row.cost()?.median;
            Some(match target {
                Target::Of(base, limit) => self.ratio(base, row)?.median <= limit,
                Target::AtMostAndBest(limit) => {
                    cost <= limit && self.ratio(Base::Peer, row)?.median < 1.0
                }
                Target::AtMost(limit) => cost <= limit,
            })
        };
        judge().map_or(Verdict::Open, |reached| {
            if reached {
                Verdict::Reached
            } else {
                Verdict::Missed
            }
        })
    }

    fn base<'a>(&'a self, base: Base, row: &'a Row) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |other| {
            let proxy = other.entry.proxy;
            other.errors.is_empty()
                && match base {
                    Base::Peer => proxy.is_peer(),
                    Base::Splicing => proxy.is_peer() && proxy.splices(),
                    Base::Copying => proxy.is_peer() && !proxy.splices(),
                    Base::Floor => proxy == Proxy::Floor,
                    Base::Plain => proxy == row.entry.proxy && other.entry.form == Form::Plain,
                }
        })
    }
}
