use std::sync::{Condvar, Mutex, PoisonError};

/// The most experiments that run at the same time. With more, they would stage their faults too
/// late.
const ALL: usize = 12;

static FREE: (Mutex<usize>, Condvar) = (Mutex::new(ALL), Condvar::new());

/// Places among the experiments that run at the same time. Dropping them frees the places.
pub struct Places(usize);

impl Places {
    /// Waits for a place.
    pub fn one() -> Places {
        Places::wait(1)
    }

    /// Waits until no experiment runs, and lets none start.
    pub fn all() -> Places {
        Places::wait(ALL)
    }

    fn wait(count: usize) -> Places {
        let (free, changed) = &FREE;
        let free = free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = changed.wait_while(free, |free| *free < count);
        *free.unwrap_or_else(PoisonError::into_inner) -= count;
        Places(count)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let (free, changed) = &FREE;
        *free.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
        changed.notify_all();
    }
}
