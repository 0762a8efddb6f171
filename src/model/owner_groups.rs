/// Groups of owners. Each owner is in one of 1,024, by PostgreSQL's hash of the local part: enough to leave most rows
/// unsearched, and too few to say who it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnerGroups(Vec<u8>);

impl OwnerGroups {
    const COUNT: usize = 1_024;

    /// No owner.
    pub const NONE: Self = Self(Vec::new());

    /// Every owner.
    pub fn all() -> Self {
        Self(vec![u8::MAX; Self::COUNT / 8])
    }

    /// No owner is in any of them.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are not among these others.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        let others = others.0.iter().copied().chain(std::iter::repeat(0));
        let left: Vec<u8> = self.0.iter().zip(others).map(|(bits, other)| bits & !other).collect();
        if left.iter().any(|bits| *bits != 0) { Self(left) } else { Self::NONE }
    }

    /// A bit for each group, as PostgreSQL's `get_bit` counts them; nothing at all if there is none.
    pub fn bits(&self) -> &[u8] {
        &self.0
    }
}

impl FromIterator<i32> for OwnerGroups {
    fn from_iter<I: IntoIterator<Item = i32>>(groups: I) -> Self {
        let mut bits = Vec::new();
        for group in groups {
            bits.resize(Self::COUNT / 8, 0);
            let group = usize::try_from(group).unwrap_or(usize::MAX);
            if let Some(byte) = bits.get_mut(group / 8) {
                *byte |= 1 << (group % 8);
            }
        }
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_bits_that_can_be_told_apart() {
        let of = |groups: &[i32]| groups.iter().copied().collect::<OwnerGroups>();
        assert!(of(&[]).is_empty());
        assert_eq!(of(&[0, 9]).bits().get(..2), Some([1, 2].as_slice()));
        assert_eq!(of(&[0, 9, 1_023]).without(&of(&[9])), of(&[0, 1_023]));
        assert!(of(&[7]).without(&OwnerGroups::all()).is_empty());
        assert_eq!(of(&[7]).without(&OwnerGroups::NONE), of(&[7]));
    }
}
