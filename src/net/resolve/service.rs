//! The order of a service's servers (RFC 2782).

use std::sync::Arc;

use crate::net::random;

/// More servers than this are not tried for one client: the time would not be enough for any of
/// them. Which of many these are is chance, as it is who comes first.
const MAX_TARGETS: usize = 64;

/// A server that provides a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTarget {
    /// Its full name.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// Those with a lower number come first.
    pub priority: u16,
    /// Of those with the same priority, how often it comes first.
    pub weight: u16,
}

/// The targets as one client should try them: by priority, and those of the same priority by
/// chance, in proportion to their weight. Of a great many some are left out.
#[must_use]
pub fn in_order(targets: &[ServiceTarget]) -> Vec<ServiceTarget> {
    order(targets, |sum| random::number() % (sum + 1))
}

/// `choose` gives a number from 0 to its argument.
fn order(targets: &[ServiceTarget], choose: impl Fn(u64) -> u64) -> Vec<ServiceTarget> {
    let mut left = targets.to_vec();
    // Those without a weight stand first, so that they have a small chance: it is theirs if 0 is
    // chosen.
    left.sort_by_key(|target| (target.priority, target.weight != 0));
    let mut ordered = Vec::with_capacity(left.len().min(MAX_TARGETS));
    while let Some(first) = left.first().filter(|_| ordered.len() < MAX_TARGETS) {
        let same = left
            .iter()
            .take_while(|target| target.priority == first.priority);
        let weights: Vec<u64> = same.map(|target| target.weight.into()).collect();
        let chosen = choose(weights.iter().sum());
        let mut running = 0;
        let reached = |weight: &u64| {
            running += weight;
            running >= chosen
        };
        let at = weights.iter().position(reached).unwrap_or_default();
        ordered.push(left.remove(at));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, priority: u16, weight: u16) -> ServiceTarget {
        ServiceTarget {
            host: host.into(),
            port: 443,
            priority,
            weight,
        }
    }

    fn hosts(ordered: &[ServiceTarget]) -> Vec<&str> {
        ordered.iter().map(|target| &*target.host).collect()
    }

    #[test]
    fn priority_comes_first_and_weight_decides_within_it() {
        let targets = [
            target("backup", 20, 9),
            target("a", 10, 1),
            target("b", 10, 3),
            target("z", 10, 0),
        ];
        assert_eq!(hosts(&order(&targets, |_| 0)), ["z", "a", "b", "backup"]);
        assert_eq!(hosts(&order(&targets, |_| 1)), ["a", "b", "z", "backup"]);
        assert_eq!(
            hosts(&order(&targets, |sum| sum)),
            ["b", "a", "z", "backup"]
        );
    }

    #[test]
    fn of_a_great_many_some_are_left_out_and_not_always_the_same() {
        let targets: Vec<ServiceTarget> = (0..2000)
            .map(|at| target(&format!("{at}"), 10, at % 3))
            .collect();
        let (one, other) = (in_order(&targets), in_order(&targets));
        assert_eq!((one.len(), other.len()), (MAX_TARGETS, MAX_TARGETS));
        assert_ne!(one, other);
        assert_eq!(in_order(&targets[..MAX_TARGETS]).len(), MAX_TARGETS);
    }

    #[test]
    fn the_first_is_chosen_in_proportion_to_its_weight() {
        let targets = [target("a", 0, 10), target("b", 0, 30)];
        let first = (0..4000)
            .filter(|_| &*in_order(&targets)[0].host == "b")
            .count();
        // 3000 are expected, and the standard deviation is 28.
        assert!((2800..3200).contains(&first), "{first}");
    }
}
