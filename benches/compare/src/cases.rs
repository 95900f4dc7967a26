//! What is compared: the cases, their units, and the targets.

use clap::ValueEnum;
use serde::Serialize;

use crate::load::{Way, Work};
use crate::peers::Proxy;
use crate::pki::Identity;
use crate::setup::{Form, Setup};

/// One kind of work, done by every proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Case {
    Connect,
    PingPong,
    /// On 256 connections in place of 32.
    ManyPingPong,
    BulkToClient,
    BulkToBackend,
    ParallelBulk,
    Fairness,
    Start,
    Idle,
    HalfHello,
    /// Of clients that were never seen before.
    MtlsHandshake,
    /// Of a client that was seen before.
    MtlsReturning,
    MtlsList,
    MtlsHybrid,
    MtlsRsa,
    MtlsChain,
    Resumption,
    MtlsPingPong,
    MtlsBulkToClient,
    MtlsBulkToBackend,
    MtlsIdle,
    Routes,
    /// What people turn on, passed through.
    Options,
    /// What people turn on, with mutual TLS.
    MtlsOptions,
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
    /// At most this multiple of what the work costs the cheapest of them, in the same round.
    Of(Base, f64),
    /// At most this, in the unit of the case, and less than every peer.
    AtMostAndBest(f64),
    /// At most this, in the unit of the case.
    AtMost(f64),
}

/// What a cost is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Base {
    /// The best peer.
    Peer,
    /// The best HAProxy, the one peer that splices.
    Splicing,
    /// The best of the peers that copy.
    Copying,
    /// The bare loop.
    Floor,
    /// Snigate itself in its plain form.
    Plain,
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

/// The connections of one turn. Each leaves a port in TIME_WAIT on the client's side and one on the
/// proxy's, and there are 14,000 that the kernel finds at once. Beyond them its search for one is
/// what is measured: with 28,000 in two seconds it took 18 % of snigate's time and halved the rate.
const PORTS: usize = 10_000;

/// The connections of one turn whose clients were never seen before: each needs a certificate,
/// which is signed beforehand.
const FRESH: usize = 5_000;

/// The routes of the case that has many.
pub(crate) const MANY_ROUTES: u32 = 100_000;

/// A proxy in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub(crate) struct Entry {
    pub(crate) proxy: Proxy,
    pub(crate) form: Form,
}

impl Case {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Connect => "passthrough: connect, hello, 128 B answer, close",
            Self::PingPong => "passthrough: 64 B ping-pong on 32 connections",
            Self::ManyPingPong => "passthrough: 64 B ping-pong on 256 connections",
            Self::BulkToClient => "passthrough: bulk to the client",
            Self::BulkToBackend => "passthrough: bulk to the backend",
            Self::ParallelBulk => "passthrough: 64 bulk flows at once to the client",
            Self::Fairness => "passthrough: 4,000 messages of 64 B a second beside 4 bulk flows",
            Self::Start => "the process at start",
            Self::Idle => "passthrough: an idle connection",
            Self::HalfHello => "passthrough: half of a hello",
            Self::MtlsHandshake => {
                "mutual TLS: full handshake of a new client, 128 B answer, close"
            }
            Self::MtlsReturning => "mutual TLS: full handshake of a client seen before",
            Self::MtlsList => "mutual TLS: full handshake of a new client, revocation list of 3 MB",
            Self::MtlsHybrid => "mutual TLS: full handshake with X25519MLKEM768",
            Self::MtlsRsa => "mutual TLS: full handshake with RSA-2048 certificates",
            Self::MtlsChain => "mutual TLS: full handshake, both chains with an intermediate",
            Self::Resumption => {
                "TLS without client certificates: resumed handshake, 128 B answer, close"
            }
            Self::MtlsPingPong => "mutual TLS: 64 B ping-pong on 32 connections",
            Self::MtlsBulkToClient => "mutual TLS: bulk to the client",
            Self::MtlsBulkToBackend => "mutual TLS: bulk to the backend",
            Self::MtlsIdle => "mutual TLS: an idle connection",
            Self::Routes => "passthrough: connect, one of 100,000 routes",
            Self::Options => "passthrough: connect, with and without",
            Self::MtlsOptions => {
                "mutual TLS: full handshake of a client seen before, with and without"
            }
        }
    }

    pub(crate) fn setup(self) -> Setup {
        match self {
            Self::MtlsList => Setup::MtlsList,
            Self::MtlsHybrid => Setup::MtlsHybrid,
            Self::MtlsRsa => Setup::MtlsRsa,
            Self::MtlsChain => Setup::MtlsChain,
            Self::Resumption => Setup::Tls,
            Self::MtlsHandshake
            | Self::MtlsReturning
            | Self::MtlsPingPong
            | Self::MtlsBulkToClient
            | Self::MtlsBulkToBackend
            | Self::MtlsIdle
            | Self::MtlsOptions => Setup::Mtls,
            _ => Setup::Passthrough,
        }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::BulkToClient | Self::BulkToBackend | Self::ParallelBulk => Unit::CpuMillisPerGb,
            Self::MtlsBulkToClient | Self::MtlsBulkToBackend => Unit::CpuMillisPerGb,
            Self::Idle | Self::HalfHello | Self::MtlsIdle => Unit::MemoryKib,
            Self::Start => Unit::MemoryMib,
            Self::Fairness => Unit::P99Micros,
            _ => Unit::CpuMicros,
        }
    }

    pub(crate) fn targets(self) -> &'static [Target] {
        use Base::{Copying, Floor, Peer, Plain, Splicing};
        use Target::{AtMost, AtMostAndBest, Of};
        match self {
            Self::Connect => &[Of(Peer, 0.98), Of(Floor, 1.06)],
            Self::PingPong => &[Of(Peer, 0.99), Of(Floor, 1.06)],
            Self::ManyPingPong => &[Of(Peer, 0.99), Of(Floor, 1.06)],
            Self::BulkToClient => &[Of(Splicing, 0.95), Of(Copying, 0.5)],
            Self::BulkToBackend => &[Of(Splicing, 0.90), Of(Copying, 0.5)],
            Self::ParallelBulk => &[],
            Self::Fairness => &[Of(Peer, 1.0)],
            Self::Start => &[AtMost(8.0)],
            Self::Idle => &[AtMostAndBest(2.2)],
            Self::HalfHello => &[AtMost(2.7)],
            Self::MtlsHandshake => &[Of(Peer, 0.90)],
            Self::MtlsReturning => &[Of(Peer, 0.80)],
            Self::MtlsList => &[Of(Plain, 1.03)],
            Self::MtlsHybrid | Self::MtlsRsa | Self::MtlsChain | Self::Resumption => {
                &[Of(Peer, 0.90)]
            }
            Self::MtlsPingPong => &[Of(Peer, 0.90)],
            Self::MtlsBulkToClient => &[Of(Peer, 0.95)],
            Self::MtlsBulkToBackend => &[Of(Peer, 0.90)],
            Self::MtlsIdle => &[AtMost(12.0)],
            Self::Routes | Self::Options | Self::MtlsOptions => &[Of(Plain, 1.03)],
        }
    }

    /// Who takes part.
    pub(crate) fn entries(self, proxies: &[Proxy]) -> Vec<Entry> {
        let entries = proxies.iter().filter(|proxy| self.has(**proxy));
        entries
            .flat_map(|proxy| {
                self.forms(*proxy).iter().map(|form| Entry {
                    proxy: *proxy,
                    form: *form,
                })
            })
            .collect()
    }

    fn has(self, proxy: Proxy) -> bool {
        match (self, proxy) {
            // There is nothing to measure, or nobody who would end TLS.
            (case, Proxy::Direct | Proxy::Floor) => {
                !case.unit().is_memory()
                    && case.setup() == Setup::Passthrough
                    && !matches!(case, Self::Routes | Self::Options)
            }
            // Through TLS nothing can be spliced, and elsewhere nothing is.
            (case, Proxy::HaproxySplice) => {
                case.setup() == Setup::Passthrough
                    && !matches!(
                        case,
                        Self::Start | Self::HalfHello | Self::Routes | Self::Options
                    )
            }
            (Self::Options | Self::MtlsOptions, proxy) => proxy.is_snigate(),
            // Envoy and Traefik take minutes to load so many.
            (Self::Routes, proxy) => !matches!(proxy, Proxy::Envoy | Proxy::Traefik),
            // It knows no lists.
            (Self::MtlsList, Proxy::Traefik) => false,
            // OpenSSL 3.0 has no key exchange of this kind.
            (Self::MtlsHybrid, Proxy::Nginx | Proxy::Haproxy) => false,
            _ => true,
        }
    }

    fn forms(self, proxy: Proxy) -> &'static [Form] {
        match self {
            Self::Routes => &[Form::Plain, Form::ManyRoutes],
            Self::MtlsList if proxy.is_snigate() => &[Form::Plain, Form::List],
            Self::MtlsList => &[Form::List],
            Self::Options => &[
                Form::Plain,
                Form::Log,
                Form::JsonLog,
                Form::ProxyHeader,
                Form::LeastConnections,
                Form::Limits,
            ],
            Self::MtlsOptions => &[
                Form::Plain,
                Form::Log,
                Form::ProxyHeader,
                Form::Certificates,
                Form::Allow,
            ],
            _ => &[Form::Plain],
        }
    }

    pub(crate) fn work(self, scale: &Scale) -> Work {
        let Scale { seconds, bytes, .. } = *scale;
        match self {
            Self::Connect | Self::Routes | Self::Options => Work::Connect {
                in_flight: 16,
                seconds,
                at_most: PORTS,
            },
            Self::MtlsHandshake | Self::MtlsList => Work::Connect {
                in_flight: 8,
                seconds,
                at_most: FRESH,
            },
            Self::MtlsReturning
            | Self::MtlsHybrid
            | Self::MtlsRsa
            | Self::MtlsChain
            | Self::Resumption
            | Self::MtlsOptions => Work::Connect {
                in_flight: 8,
                seconds,
                at_most: PORTS,
            },
            Self::PingPong | Self::MtlsPingPong => Work::PingPong {
                connections: 32,
                seconds,
            },
            Self::ManyPingPong => Work::PingPong {
                connections: 256,
                seconds,
            },
            Self::BulkToClient => Work::Bulk {
                way: Way::ToClient,
                flows: 1,
                bytes,
            },
            Self::BulkToBackend => Work::Bulk {
                way: Way::ToBackend,
                flows: 1,
                bytes,
            },
            Self::MtlsBulkToClient => Work::Bulk {
                way: Way::ToClient,
                flows: 1,
                bytes: bytes / 2,
            },
            Self::MtlsBulkToBackend => Work::Bulk {
                way: Way::ToBackend,
                flows: 1,
                bytes: bytes / 2,
            },
            Self::ParallelBulk => Work::Bulk {
                way: Way::ToClient,
                flows: 64,
                bytes,
            },
            Self::Fairness => Work::Beside {
                connections: 16,
                every_ms: 4,
                flows: 4,
                seconds,
            },
            Self::Start => Work::Idle { connections: 0 },
            Self::Idle => Work::Idle {
                connections: scale.idle,
            },
            Self::MtlsIdle => Work::Idle {
                connections: scale.mtls_idle,
            },
            Self::HalfHello => Work::HalfHello {
                connections: scale.half_hellos,
            },
        }
    }

    /// Who the clients are, where TLS ends at the proxy.
    pub(crate) fn identity(self) -> Option<Identity> {
        self.setup().is_tls().then(|| match self {
            // Those of the warm-up, too.
            Self::MtlsHandshake | Self::MtlsList => Identity::Fresh(FRESH + FRESH / 10 + 100),
            Self::MtlsHybrid => Identity::Hybrid,
            Self::Resumption => Identity::Resuming,
            _ => Identity::Same(self.setup().keys()),
        })
    }

    pub(crate) fn rounds(self, scale: &Scale) -> usize {
        if self.unit().is_memory() {
            scale.memory_rounds
        } else {
            scale.rounds
        }
    }

    /// The name that `--case` takes.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

impl Entry {
    pub(crate) fn label(self) -> String {
        format!("{}{}", self.proxy.name(), self.form.label())
    }
}
