//! Atomics and locks for what workers share. They are the standard library's, or loom's in a build with `--cfg loom`, which tries
//! every order in which threads may see them (`make loom`).

#[cfg(not(loom))]
pub use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(loom)]
pub use loom::sync::{
    Mutex, MutexGuard,
    atomic::{Ordering, fence},
};
#[cfg(loom)]
pub use modelled::{AtomicBool, AtomicU64, AtomicUsize};
#[cfg(loom)]
pub use std::sync::PoisonError;

/// Loom treats a sequentially consistent access as an acquiring or releasing one, and so reports faults that cannot happen. A
/// fence before and after makes the access what it is.
#[cfg(loom)]
#[allow(missing_docs)]
mod modelled {
    use loom::sync::atomic::{self, Ordering, Ordering::SeqCst, fence};

    macro_rules! modelled {
        ($name:ident, $value:ty) => {
            #[derive(Debug)]
            pub struct $name(atomic::$name);

            impl Default for $name {
                fn default() -> Self {
                    Self::new(<$value>::default())
                }
            }

            impl $name {
                pub fn new(value: $value) -> Self {
                    Self(atomic::$name::new(value))
                }

                pub fn load(&self, order: Ordering) -> $value {
                    fenced(order, || self.0.load(order))
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    fenced(order, || self.0.store(value, order));
                }

                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    fenced(order, || self.0.swap(value, order))
                }
            }
        };
    }

    modelled!(AtomicBool, bool);
    modelled!(AtomicUsize, usize);
    modelled!(AtomicU64, u64);

    macro_rules! counting {
        ($name:ident, $value:ty) => {
            impl $name {
                pub fn fetch_add(&self, more: $value, order: Ordering) -> $value {
                    fenced(order, || self.0.fetch_add(more, order))
                }

                pub fn fetch_sub(&self, less: $value, order: Ordering) -> $value {
                    fenced(order, || self.0.fetch_sub(less, order))
                }

                pub fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    next: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    fenced(set, || self.0.fetch_update(set, fetch, next))
                }
            }
        };
    }

    counting!(AtomicUsize, usize);
    counting!(AtomicU64, u64);

    fn fenced<T>(order: Ordering, access: impl FnOnce() -> T) -> T {
        let is_total = order == SeqCst;
        if is_total {
            fence(SeqCst);
        }
        let value = access();
        if is_total {
            fence(SeqCst);
        }
        value
    }
}
