//! What is compared: the cases, their units, and the targets.

use clap::ValueEnum;
use serde::Serialize;

use crate::load::{Way, Work};
use crate::peers::{Proxy, Setup};

/// One kind of work, done by every proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Case {
    Connect,
    PingPong,
    BulkToClient,
    BulkToBackend,
    ParallelBulk,
    Fairness,
    Start,
    Idle,
    HalfHello,
    MtlsHandshake,
    MtlsPingPong,
    MtlsBulkToClient,
    MtlsBulkToBackend,
    MtlsIdle,
    Routes,
}

/// What a case's cost is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    /// Processor time, in microseconds for each connection or round trip.
    CpuMicros,
    /// Processor time, in milliseconds for each 10^9 bytes.
    CpuMillisPerGb,
    /// Memory, in KiB for each connection.
    MemoryKib,
    /// Memory of the whole proxy, in MiB.
    MemoryMib,
    /// The 99th percentile of the latency, in microseconds.
    P99Micros,
}

impl Unit {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::CpuMicros => "µs CPU",
            Self::CpuMillisPerGb => "ms CPU/GB",
            Self::MemoryKib => "KiB each",
            Self::MemoryMib => "MiB",
            Self::P99Micros => "µs p99",
        }
    }

    pub(crate) fn is_memory(self) -> bool {
        matches!(self, Self::MemoryKib | Self::MemoryMib)
    }
}

/// What snigate is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) enum Target {
    /// At most this share of what the best peer's work costs, in the same round.
    OfBestPeer(f64),
    /// At most this, in the unit of the case, and less than every peer.
    AtMostAndBest(f64),
    /// At most this, in the unit of the case.
    AtMost(f64),
    /// With many routes at most this share of what one route costs.
    OfOneRoute(f64),
    /// None; the case is there to be seen.
    None,
}

/// How much of everything.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Scale {
    pub(crate) rounds: usize,
    /// Memory varies little, and takes long to fill.
    pub(crate) memory_rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) bytes: u64,
    pub(crate) idle: usize,
    pub(crate) half_hellos: usize,
    pub(crate) mtls_idle: usize,
}

impl Scale {
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        memory_rounds: 1,
        seconds: 0.8,
        bytes: 1_600_000_000,
        idle: 2000,
        half_hellos: 1000,
        mtls_idle: 500,
    };
    pub(crate) const FULL: Self = Self {
        rounds: 7,
        memory_rounds: 3,
        seconds: 1.5,
        bytes: 2_400_000_000,
        idle: 2000,
        half_hellos: 2000,
        mtls_idle: 1000,
    };
}

/// The connections of one turn. Each leaves a port in TIME_WAIT on the client's side and one on the proxy's, and there are
/// 14,000 that the kernel finds at once. Beyond them its search for one is what is measured: with 28,000 in two seconds it
/// took 18 % of snigate's time and halved the rate.
const PORTS: usize = 10_000;

/// The routes of the case that has many.
pub(crate) const MANY_ROUTES: u32 = 100_000;

/// A proxy in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub(crate) struct Entry {
    pub(crate) proxy: Proxy,
    pub(crate) routes: u32,
}

impl Case {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Connect => "passthrough: connect, hello, 128 B answer, close",
            Self::PingPong => "passthrough: 64 B ping-pong on 32 connections",
            Self::BulkToClient => "passthrough: bulk to the client",
            Self::BulkToBackend => "passthrough: bulk to the backend",
            Self::ParallelBulk => "passthrough: 64 bulk flows at once to the client",
            Self::Fairness => "passthrough: 4,000 messages of 64 B a second beside 4 bulk flows",
            Self::Start => "the process at start",
            Self::Idle => "passthrough: an idle connection",
            Self::HalfHello => "passthrough: half of a hello",
            Self::MtlsHandshake => "mutual TLS: full handshake, 128 B answer, close",
            Self::MtlsPingPong => "mutual TLS: 64 B ping-pong on 32 connections",
            Self::MtlsBulkToClient => "mutual TLS: bulk to the client",
            Self::MtlsBulkToBackend => "mutual TLS: bulk to the backend",
            Self::MtlsIdle => "mutual TLS: an idle connection",
            Self::Routes => "passthrough: connect, one of 100,000 routes",
        }
    }

    pub(crate) fn setup(self) -> Setup {
        match self {
            Self::MtlsHandshake
            | Self::MtlsPingPong
            | Self::MtlsBulkToClient
            | Self::MtlsBulkToBackend
            | Self::MtlsIdle => Setup::Mtls,
            _ => Setup::Passthrough,
        }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::Connect | Self::PingPong | Self::MtlsHandshake | Self::MtlsPingPong | Self::Routes => Unit::CpuMicros,
            Self::BulkToClient | Self::BulkToBackend | Self::ParallelBulk => Unit::CpuMillisPerGb,
            Self::MtlsBulkToClient | Self::MtlsBulkToBackend => Unit::CpuMillisPerGb,
            Self::Idle | Self::HalfHello | Self::MtlsIdle => Unit::MemoryKib,
            Self::Start => Unit::MemoryMib,
            Self::Fairness => Unit::P99Micros,
        }
    }

    pub(crate) fn target(self) -> Target {
        match self {
            Self::Connect => Target::OfBestPeer(0.95),
            Self::PingPong => Target::OfBestPeer(0.95),
            Self::BulkToClient => Target::OfBestPeer(0.45),
            Self::BulkToBackend => Target::OfBestPeer(0.50),
            Self::ParallelBulk => Target::None,
            Self::Fairness => Target::OfBestPeer(1.0),
            Self::Start => Target::AtMost(8.0),
            Self::Idle => Target::AtMostAndBest(2.5),
            Self::HalfHello => Target::AtMost(4.0),
            Self::MtlsHandshake => Target::OfBestPeer(0.60),
            Self::MtlsPingPong => Target::OfBestPeer(0.95),
            Self::MtlsBulkToClient => Target::OfBestPeer(0.65),
            Self::MtlsBulkToBackend => Target::OfBestPeer(0.70),
            Self::MtlsIdle => Target::AtMost(20.0),
            Self::Routes => Target::OfOneRoute(1.05),
        }
    }

    /// Who takes part.
    pub(crate) fn entries(self, proxies: &[Proxy]) -> Vec<Entry> {
        let takes_part = |proxy: &&Proxy| match (self, proxy) {
            // There is nothing to measure, or nobody who would end TLS.
            (case, Proxy::Direct) => {
                !case.unit().is_memory() && case.setup() == Setup::Passthrough && case != Self::Routes
            }
            // One line for each connection; nothing else differs.
            (case, Proxy::SnigateLog) => matches!(case, Self::Connect | Self::MtlsHandshake),
            // Through TLS nothing can be spliced, and elsewhere nothing is.
            (case, Proxy::HaproxySplice) => {
                case.setup() == Setup::Passthrough && !matches!(case, Self::Start | Self::HalfHello | Self::Routes)
            }
            // Envoy and Traefik take minutes to load so many.
            (Self::Routes, proxy) => matches!(proxy, Proxy::Snigate | Proxy::Before | Proxy::Nginx | Proxy::Haproxy),
            _ => true,
        };
        let routes: &[u32] = if self == Self::Routes { &[1, MANY_ROUTES] } else { &[1] };
        let proxies = proxies.iter().filter(takes_part);
        proxies.flat_map(|proxy| routes.iter().map(|routes| Entry { proxy: *proxy, routes: *routes })).collect()
    }

    pub(crate) fn work(self, scale: &Scale) -> Work {
        let Scale { seconds, bytes, .. } = *scale;
        match self {
            Self::Connect | Self::Routes => Work::Connect { in_flight: 16, seconds, at_most: PORTS },
            Self::MtlsHandshake => Work::Connect { in_flight: 8, seconds, at_most: PORTS },
            Self::PingPong | Self::MtlsPingPong => Work::PingPong { connections: 32, seconds },
            Self::BulkToClient => Work::Bulk { way: Way::ToClient, flows: 1, bytes },
            Self::BulkToBackend => Work::Bulk { way: Way::ToBackend, flows: 1, bytes },
            Self::MtlsBulkToClient => Work::Bulk { way: Way::ToClient, flows: 1, bytes: bytes / 2 },
            Self::MtlsBulkToBackend => Work::Bulk { way: Way::ToBackend, flows: 1, bytes: bytes / 2 },
            Self::ParallelBulk => Work::Bulk { way: Way::ToClient, flows: 64, bytes },
            Self::Fairness => Work::Beside { connections: 16, every_ms: 4, flows: 4, seconds },
            Self::Start => Work::Idle { connections: 0 },
            Self::Idle => Work::Idle { connections: scale.idle },
            Self::MtlsIdle => Work::Idle { connections: scale.mtls_idle },
            Self::HalfHello => Work::HalfHello { connections: scale.half_hellos },
        }
    }

    pub(crate) fn rounds(self, scale: &Scale) -> usize {
        if self.unit().is_memory() { scale.memory_rounds } else { scale.rounds }
    }

    /// The name that `--case` takes.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Entry {
    pub(crate) fn label(self, case: Case) -> String {
        match (case, self.routes) {
            (Case::Routes, 1) => format!("{}, 1 route", self.proxy.name()),
            (Case::Routes, _) => format!("{}, 100,000 routes", self.proxy.name()),
            _ => self.proxy.name().to_owned(),
        }
    }
}
