//! Turns an input's bytes into choices. After its end come zeros, and zero is always the plain choice: an input that is cut off
//! means less, but nothing else.

/// An input as a source of choices.
pub struct Dice<'a> {
    rest: &'a [u8],
    /// Whether only harmless choices are made where there is a preference.
    pub is_tame: bool,
}

impl<'a> Dice<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest, is_tame: false }
    }

    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// The first in three cases of four.
    pub fn lean<T: Copy>(&mut self, of: &[T]) -> T {
        match self.byte() {
            b if b < 192 || self.is_tame => of[0],
            b => of[usize::from(b) % of.len()],
        }
    }

    /// One of `good` or, unless tame, of `bad` too.
    pub fn choose<T: Copy>(&mut self, good: &[T], bad: &[T]) -> T {
        match self.below(if self.is_tame { good.len() } else { good.len() + bad.len() }) {
            n if n < good.len() => good[n],
            n => bad[n - good.len()],
        }
    }

    /// True once in `n`, and never for a zero.
    pub fn is_one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1 && !self.is_tame
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let (taken, rest) = self.rest.split_at(n.min(self.rest.len()));
        self.rest = rest;
        taken.to_vec()
    }
}
