//! Load balancing: which of several servers a connection goes to. Everything here is arithmetic: it
//! is told which servers may be chosen.
//!
//! `candidate` gives what counts of each server, and `None` where it may not be chosen now.

use std::net::IpAddr;

use crate::addr::UpstreamAddr;
use crate::net::random::{fraction, mix};

/// A server that may be chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Above zero.
    pub(super) weight: u32,
    /// How many connections it has.
    pub(super) connections: usize,
}

impl Candidate {
    /// Whether it has fewer connections for its weight, without a division that would round.
    fn is_idler_than(self, other: Self) -> bool {
        self.load(other) < other.load(self)
    }

    fn load(self, beside: Self) -> u128 {
        self.connections as u128 * u128::from(beside.weight)
    }
}

/// The first.
pub(super) fn first(count: usize, candidate: impl Fn(usize) -> Option<Candidate>) -> Option<usize> {
    (0..count).find(|at| candidate(*at).is_some())
}

/// Each in turn, as often as its weight says, and spread out: of weights 5, 1 and 1 not five times
/// the first one and then the others. It is how nginx does it: everybody gains its weight, who has
/// most is chosen and pays for all.
///
/// `credit` is what they have, and begins as zeros. Who is no candidate neither gains nor pays.
pub(super) fn round_robin(
    credit: &mut [i64],
    candidate: impl Fn(usize) -> Option<Candidate>,
) -> Option<usize> {
    let (mut total, mut best) = (0, None);
    for at in 0..credit.len() {
        let Some(Candidate { weight, .. }) = candidate(at) else {
            continue;
        };
        credit[at] += i64::from(weight);
        total += i64::from(weight);
        if best.is_none_or(|best: usize| credit[at] > credit[best]) {
            best = Some(at);
        }
    }
    credit[best?] -= total;
    best
}

/// The one with the fewest connections for its weight; those that have equally few in turn.
pub(super) fn least_connections(
    credit: &mut [i64],
    candidate: impl Fn(usize) -> Option<Candidate>,
) -> Option<usize> {
    // Looked at once: others come and go meanwhile, and then none would be the least any more.
    let mut least: Option<Candidate> = None;
    for at in 0..credit.len() {
        least = match (candidate(at), least) {
            (Some(one), Some(least)) if !one.is_idler_than(least) => Some(least),
            (one, least) => one.or(least),
        };
    }
    let least = least?;
    round_robin(credit, |at| {
        candidate(at).filter(|one| !least.is_idler_than(*one))
    })
    .or_else(|| round_robin(credit, candidate))
}

/// Of two at random, each as likely as its weight says, the one with fewer connections for its
/// weight. That is nearly as even as looking at all of them (Mitzenmacher: The power of two
/// choices, 2001), and many snigates do not all choose the same one.
pub(super) fn random(
    count: usize,
    candidate: impl Fn(usize) -> Option<Candidate>,
    numbers: [u64; 2],
) -> Option<usize> {
    let draw = |number: u64, without: Option<usize>| {
        let weights = || {
            let others = (0..count).filter(|at| Some(*at) != without);
            others.filter_map(|at| candidate(at).map(|one| (at, u64::from(one.weight))))
        };
        let total: u64 = weights().map(|(_, weight)| weight).sum();
        // Below `total`, and even: a remainder would prefer small numbers.
        let mut left = ((u128::from(number) * u128::from(total)) >> 64) as u64;
        let drawn = weights().find(|(_, weight)| match left.checked_sub(*weight) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        drawn.map(|(at, _)| at)
    };
    let one = draw(numbers[0], None)?;
    let Some(other) = draw(numbers[1], Some(one)) else {
        return Some(one);
    };
    let idler = candidate(other)
        .zip(candidate(one))
        .is_some_and(|(other, one)| other.is_idler_than(one));
    Some(if idler { other } else { one })
}

/// For each client the same one, as often as its weight says. Every server has a number for every
/// client and the highest one counts, so that a server which leaves gives its clients to the others
/// and moves nobody else (Thaler, Ravishankar: Using name-based mappings to increase hit rates,
/// 1998; with the weights of Schindelhauer and Schomaker, 2005).
pub(super) fn source_hash(
    count: usize,
    candidate: impl Fn(usize) -> Option<Candidate>,
    client: u64,
    key: impl Fn(usize) -> u64,
) -> Option<usize> {
    let score = |at: usize| {
        let Candidate { weight, .. } = candidate(at)?;
        Some((at, score(weight, mix(client ^ key(at)))))
    };
    (0..count)
        .filter_map(score)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(at, _)| at)
}

/// How high a server of this weight stands for a client, by a number that is any number for the two
/// of them. The logarithm is at most 0; at 0 it is infinity, and nobody stands higher.
fn score(weight: u32, number: u64) -> f64 {
    f64::from(weight) / fraction(number).ln().abs()
}

/// The number of a client: that of its address, whole.
pub(super) fn client_number(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => hash(&ip.octets()),
        IpAddr::V6(ip) => hash(&ip.octets()),
    }
}

/// The number of a server: that of its address as it is written, so that its place in the list does
/// not count.
pub(super) fn server_number(addr: &UpstreamAddr) -> u64 {
    hash(addr.to_string().as_bytes())
}

/// FNV-1a and a mixer: the same in every process and every version, which the hashes of the
/// standard library are not.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Weights of servers, some of which are no candidates.
    fn servers() -> impl Strategy<Value = Vec<Option<u32>>> {
        prop::collection::vec(prop::option::weighted(0.8, 1_u32..20), 1..8)
    }

    fn idle(weights: &[Option<u32>]) -> impl Fn(usize) -> Option<Candidate> {
        |at| {
            weights[at].map(|weight| Candidate {
                weight,
                connections: 0,
            })
        }
    }

    fn total(weights: &[Option<u32>]) -> usize {
        weights.iter().flatten().sum::<u32>() as usize
    }

    #[test]
    fn round_robin_spreads_the_turns_of_a_heavy_server() {
        let mut credit = [0; 3];
        let candidate = idle(&[Some(5), Some(1), Some(1)]);
        let turns: Vec<_> = (0..7)
            .filter_map(|_| round_robin(&mut credit, &candidate))
            .collect();
        assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
    }

    proptest! {
        #[test]
        fn round_robin_gives_each_its_weight_in_each_round(weights in servers(), rounds in 1_usize..4) {
            let mut credit = vec![0; weights.len()];
            let mut turns = vec![0; weights.len()];
            for _ in 0..rounds * total(&weights) {
                turns[round_robin(&mut credit, idle(&weights)).unwrap()] += 1;
            }
            let due: Vec<_> = weights.iter().map(|weight| rounds * weight.unwrap_or(0) as usize).collect();
            prop_assert_eq!(turns, due);
        }

        #[test]
        fn round_robin_never_lets_anybody_wait_longer_than_the_weights_say(weights in servers()) {
            let mut credit = vec![0; weights.len()];
            let turns: Vec<_> = (0..3 * total(&weights)).map(|_| round_robin(&mut credit, idle(&weights))).collect();
            for (at, weight) in weights.iter().enumerate() {
                let Some(weight) = weight else { continue };
                // Two of its turns are at most this far apart, also from one round to the next.
                let gap = 2 * total(&weights).div_ceil(*weight as usize);
                prop_assert!(turns.windows(gap).all(|turns| turns.contains(&Some(at))), "{at} of {turns:?}");
            }
        }

        #[test]
        fn who_has_the_fewest_connections_for_its_weight_is_chosen(
            servers in prop::collection::vec(prop::option::weighted(0.8, (1_u32..20, 0_usize..50)), 1..8)
        ) {
            let candidate = |at: usize| servers[at].map(|(weight, connections)| Candidate { weight, connections });
            let mut credit = vec![0; servers.len()];
            match least_connections(&mut credit, candidate) {
                None => prop_assert!(servers.iter().all(Option::is_none)),
                Some(chosen) => {
                    let chosen = candidate(chosen).unwrap();
                    prop_assert!(!(0..servers.len()).filter_map(candidate).any(|other| other.is_idler_than(chosen)));
                }
            }
        }

        #[test]
        fn connections_that_stay_are_shared_by_weight(weights in servers()) {
            let mut connections = vec![0; weights.len()];
            let mut credit = vec![0; weights.len()];
            for _ in 0..3 * total(&weights) {
                let candidate = |at: usize| weights[at].map(|weight| Candidate { weight, connections: connections[at] });
                let chosen = least_connections(&mut credit, candidate).unwrap();
                connections[chosen] += 1;
            }
            let due: Vec<_> = weights.iter().map(|weight| 3 * weight.unwrap_or(0) as usize).collect();
            prop_assert_eq!(connections, due);
        }

        #[test]
        fn random_prefers_the_idler_one_of_two(numbers: [u64; 2], a in 0_usize..9, b in 0_usize..9, weights: [u8; 2]) {
            let servers = [(weights[0], a), (weights[1], b)];
            let candidate = |at: usize| {
                let (weight, connections) = servers[at];
                Some(Candidate { weight: u32::from(weight) + 1, connections })
            };
            let chosen = random(2, candidate, numbers).unwrap();
            let [one, other] = [chosen, 1 - chosen].map(|at| candidate(at).unwrap());
            prop_assert!(!other.is_idler_than(one));
        }

        #[test]
        fn random_chooses_a_candidate_if_there_is_one(weights in servers(), numbers: [u64; 2]) {
            match random(weights.len(), idle(&weights), numbers) {
                None => prop_assert_eq!(total(&weights), 0),
                Some(chosen) => prop_assert!(weights[chosen].is_some()),
            }
        }

        #[test]
        fn a_server_that_leaves_moves_only_its_own_clients(
            weights in servers(), keys in prop::collection::vec(any::<u64>(), 8), leaves in 0_usize..8, clients: [u64; 32]
        ) {
            let mut fewer = weights.clone();
            if let Some(leaving) = fewer.get_mut(leaves) {
                *leaving = None;
            }
            for client in clients {
                let choose = |weights: &[Option<u32>]| source_hash(weights.len(), idle(weights), client, |at| keys[at]);
                let before = choose(&weights);
                if before != Some(leaves) {
                    prop_assert_eq!(choose(&fewer), before);
                }
            }
        }

        #[test]
        fn a_heavier_server_only_gains_clients(
            weights in servers(), keys in prop::collection::vec(any::<u64>(), 8), grows in 0_usize..8, clients: [u64; 32]
        ) {
            let mut heavier = weights.clone();
            if let Some(Some(weight)) = heavier.get_mut(grows) {
                *weight += 5;
            }
            for client in clients {
                let choose = |weights: &[Option<u32>]| source_hash(weights.len(), idle(weights), client, |at| keys[at]);
                let (before, after) = (choose(&weights), choose(&heavier));
                prop_assert!(after == before || after == Some(grows), "{before:?} {after:?}");
            }
        }
    }

    /// How often each server is chosen in 20,000 choices, in parts of the total weight.
    fn shares(weights: &[u32], choose: impl Fn(u64) -> Option<usize>) -> Vec<f64> {
        let mut counts = vec![0_u32; weights.len()];
        for number in 0..20_000 {
            counts[choose(number).unwrap()] += 1;
        }
        let total: u32 = weights.iter().sum();
        counts
            .iter()
            .map(|count| f64::from(*count) * f64::from(total) / 20_000.0)
            .collect()
    }

    #[test]
    fn clients_are_spread_by_weight() {
        let weights = [1, 2, 5];
        let servers: Vec<UpstreamAddr> = ["10.0.0.1:1", "10.0.0.2:1", "b.internal:1"]
            .map(|addr| addr.parse().unwrap())
            .into();
        let idle = idle(&[Some(1), Some(2), Some(5)]);
        let by_source = shares(&weights, |number| {
            let client = client_number(IpAddr::from(
                0x0a00_0000_u32
                    .wrapping_add(u32::try_from(number).unwrap())
                    .to_be_bytes(),
            ));
            source_hash(3, &idle, client, |at| server_number(&servers[at]))
        });
        // All idle: the first of two draws counts.
        let by_chance = shares(&weights, |number| {
            random(3, &idle, [mix(number), mix(!number)])
        });
        for shares in [by_source, by_chance] {
            for (share, weight) in shares.iter().zip(weights) {
                assert!((share - f64::from(weight)).abs() < 0.15, "{shares:?}");
            }
        }
    }

    #[test]
    fn the_highest_number_of_all_is_the_highest_score() {
        let scores = [u64::MAX, u64::MAX - (1 << 11), u64::MAX / 2, 1 << 11, 0]
            .map(|number| score(1, number));
        assert!(scores.is_sorted_by(|one, next| one > next), "{scores:?}");
        assert!(scores.iter().all(|score| *score > 0.0), "{scores:?}");
    }

    #[test]
    fn a_clients_server_is_the_same_in_every_version() {
        let servers: Vec<UpstreamAddr> = (1..=5)
            .map(|at| format!("10.0.0.{at}:443").parse().unwrap())
            .collect();
        let idle = idle(&[Some(1); 5]);
        let chosen = |client: &str| {
            source_hash(5, &idle, client_number(client.parse().unwrap()), |at| {
                server_number(&servers[at])
            })
            .unwrap()
        };
        let clients = [
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.3",
            "2001:db8::1",
            "2001:db8::2",
            "::ffff:192.0.2.1",
        ];
        assert_eq!(clients.map(chosen), [3, 0, 0, 1, 3, 3]);
    }
}
