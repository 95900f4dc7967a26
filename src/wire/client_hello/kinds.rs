//! The types of extensions that a hello has had so far, so that none comes twice.

/// A set of extension types. A look takes the same time however many there are: a hello has room
/// for 16,384.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    /// Those below 64, which are most of what is in use.
    low: u64,
    /// The first others: GREASE, and what was registered late.
    few: [u16; FEW],
    count: usize,
    /// A bit for each type there can be, once there are more others than any real client sends.
    many: Option<Box<[u64; (1 << 16) / 64]>>,
}

impl Kinds {
    /// Adds a type: false when it is there already.
    #[inline]
    pub(super) fn insert(&mut self, kind: u16) -> bool {
        match &mut self.many {
            Some(many) => set(&mut many[usize::from(kind / 64)], kind % 64),
            None if kind < 64 => set(&mut self.low, kind),
            None => self.insert_high(kind),
        }
    }

    #[inline(never)]
    fn insert_high(&mut self, kind: u16) -> bool {
        let (few, free) = self.few.split_at_mut(self.count);
        if few.contains(&kind) {
            return false;
        }
        if let Some(free) = free.first_mut() {
            *free = kind;
            self.count += 1;
            return true;
        }
        let mut many = Box::new([0; (1 << 16) / 64]);
        many[0] = self.low;
        for kind in self.few {
            set(&mut many[usize::from(kind / 64)], kind % 64);
        }
        set(
            &mut self.many.insert(many)[usize::from(kind / 64)],
            kind % 64,
        )
    }
}

/// Sets a bit: false when it is set already.
fn set(bits: &mut u64, bit: u16) -> bool {
    let before = *bits;
    *bits |= 1 << bit;
    *bits != before
}

/// Browsers send about eight of these, other clients fewer.
const FEW: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(kinds in prop::collection::vec(prop_oneof![0..80_u16, 65_000..=u16::MAX, any::<u16>()], 0..300)) {
            let (mut set, mut expected) = (Kinds::default(), HashSet::new());
            for kind in kinds {
                prop_assert_eq!(set.insert(kind), expected.insert(kind), "{}", kind);
            }
        }
    }

    #[test]
    fn every_type_is_new_once() {
        let mut set = Kinds::default();
        assert!((0..=u16::MAX).rev().all(|kind| set.insert(kind)));
        assert!((0..=u16::MAX).all(|kind| !set.insert(kind)));
    }
}
