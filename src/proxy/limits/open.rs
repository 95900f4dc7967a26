//! Open connections of each source.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::proxy::limits::{KEPT, Limit, SourceNetwork};

/// How many connections sources have open, of those that have any.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Open(HashMap<SourceNetwork, u32>);

impl Open {
    /// Counts one more, unless there are `most` already.
    pub(in crate::proxy) fn enter(
        &mut self,
        source: SourceNetwork,
        most: u32,
    ) -> Result<(), Limit> {
        let count = self.0.entry(source).or_default();
        if *count >= most {
            return Err(Limit::ConnectionsPerSource(most, source));
        }
        *count += 1;
        Ok(())
    }

    /// One that was counted has ended.
    pub(in crate::proxy) fn leave(&mut self, source: SourceNetwork) {
        if let Entry::Occupied(mut count) = self.0.entry(source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if self.0.is_empty() && self.0.capacity() > KEPT {
            self.0 = HashMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::limits::source;

    #[test]
    fn a_source_has_as_many_connections_as_it_may_and_leaves_nothing_behind() {
        let (a, b) = (source("192.0.2.1"), source("2001:db8::1"));
        let mut open = Open::default();
        assert_eq!((open.enter(a, 2), open.enter(a, 2)), (Ok(()), Ok(())));
        assert_eq!(open.enter(a, 2), Err(Limit::ConnectionsPerSource(2, a)));
        assert_eq!(open.enter(b, 2), Ok(()));
        open.leave(a);
        assert_eq!(open.enter(a, 2), Ok(()));
        [a, a, b].into_iter().for_each(|source| open.leave(source));
        assert!(open.0.is_empty());
    }
}
