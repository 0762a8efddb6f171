use std::collections::HashSet;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const CONSONANTS: &[u8] = b"bdfgklmnprstvz";
const VOWELS: &[u8] = b"aeiou";
const SYLLABLES: usize = 4;

/// Words that nobody has written before: random in each run, so that no program can know them.
#[derive(Debug)]
pub struct Words {
    seed: u64,
    rng: StdRng,
    made: HashSet<String>,
}

impl Words {
    /// A new seed, or the one in `LAB_SEED`. A failing test shows it.
    pub fn random() -> Self {
        let given = std::env::var("LAB_SEED").ok().and_then(|seed| seed.parse().ok());
        let words = Self::with_seed(given.unwrap_or_else(|| rand::rng().random()));
        #[expect(clippy::print_stderr, reason = "a failed test must tell how to repeat it")]
        {
            eprintln!("words: LAB_SEED={}", words.seed);
        }
        words
    }

    /// The same words for the same seed.
    pub fn with_seed(seed: u64) -> Self {
        Self { seed, rng: StdRng::seed_from_u64(seed), made: HashSet::new() }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A new word. All have the same length, so none is part of another.
    pub fn word(&mut self) -> String {
        loop {
            let mut word = String::with_capacity(2 * SYLLABLES);
            for _ in 0..SYLLABLES {
                word.push(self.letter(CONSONANTS));
                word.push(self.letter(VOWELS));
            }
            if self.made.insert(word.clone()) {
                return word;
            }
        }
    }

    fn letter(&mut self, of: &[u8]) -> char {
        let index = self.rng.random_range(0..of.len());
        of.get(index).copied().map_or('a', char::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_new_within_a_run_and_the_same_for_the_same_seed() {
        let make = |seed| {
            let mut words = Words::with_seed(seed);
            (0..1_000).map(|_| words.word()).collect::<Vec<_>>()
        };
        let (one, same, other) = (make(1), make(1), make(2));
        assert_eq!(one, same);
        assert_ne!(one, other);
        assert_eq!(one.iter().collect::<HashSet<_>>().len(), 1_000);
        assert!(one.iter().all(|word| word.len() == 2 * SYLLABLES));
    }
}
