//! How many calls of a client run at once; the others wait, first come, first served.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

/// Unary calls at once: enough to keep a server busy. More would only wait there.
pub(crate) const CALLS: usize = 100;
/// Streams at once: what servers take on one connection.
pub(crate) const STREAMS: usize = 1000;
/// The most calls that wait.
pub(crate) const WAITING: usize = 10_000;
/// If no call ends for so long while others wait, more are begun: the calls may wait for one shard, and the others for
/// other ones.
const STUCK: Duration = Duration::from_secs(1);

/// Why there is no slot for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many wait already.
    Full,
    /// None was free before the deadline.
    Late,
    /// The client was closed.
    Closed,
}

/// Slots for calls. While none ends, more are lent, at most [`STREAMS`] in all.
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    at_once: usize,
    waiting: AtomicUsize,
    lent: AtomicUsize,
    /// Changes whenever a call ends, or slots are lent.
    turns: AtomicUsize,
}

/// A slot, until it is dropped.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    permit: Option<OwnedSemaphorePermit>,
    since: Instant,
}

impl Slots {
    pub(crate) fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(at_once)),
            at_once,
            waiting: AtomicUsize::new(0),
            lent: AtomicUsize::new(0),
            turns: AtomicUsize::new(0),
        })
    }

    /// A slot, as soon as one is free.
    pub(crate) async fn take(self: &Arc<Self>, deadline: Option<Instant>) -> Result<Slot, Refusal> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait(deadline).await?,
        };
        Ok(Slot { slots: Arc::clone(self), permit: Some(permit), since: Instant::now() })
    }

    async fn wait(&self, deadline: Option<Instant>) -> Result<OwnedSemaphorePermit, Refusal> {
        let waiter = Waiter::new(&self.waiting).ok_or(Refusal::Full)?;
        let turn = self.turn();
        let permit = match deadline {
            Some(deadline) => timeout_at(deadline, turn).await.map_err(|_| Refusal::Late)?,
            None => turn.await,
        };
        drop(waiter);
        permit.map_err(|_| Refusal::Closed)
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        let mut acquiring = std::pin::pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            let turns = self.turns.load(Ordering::Relaxed);
            match timeout(STUCK, acquiring.as_mut()).await {
                Ok(permit) => return permit,
                Err(_) => self.lend(turns),
            }
        }
    }

    /// Lends as many slots again if no call has ended since.
    fn lend(&self, turns: usize) {
        let is_stuck = self.turns.compare_exchange(turns, turns + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_stuck && self.lent.load(Ordering::Relaxed) + 2 * self.at_once <= STREAMS {
            self.lent.fetch_add(self.at_once, Ordering::Relaxed);
            self.free.add_permits(self.at_once);
        }
    }

    /// Ends every wait, now and later.
    pub(crate) fn close(&self) {
        self.free.close();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.turns.fetch_add(1, Ordering::Relaxed);
        let is_one_less = |lent: usize| lent.checked_sub(1);
        // A slot that was lent ends with the call in whose stead it was lent.
        if self.since.elapsed() >= STUCK
            && self.slots.lent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_one_less).is_ok()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

/// Counts one that waits, until it is dropped.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    /// None if too many wait already.
    fn new(waiting: &'a AtomicUsize) -> Option<Self> {
        if waiting.fetch_add(1, Ordering::Relaxed) < WAITING {
            return Some(Self(waiting));
        }
        waiting.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(slots: &Arc<Slots>, count: usize) -> Vec<Slot> {
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(slots.take(None).await.unwrap());
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_a_slot_until_its_deadline() {
        let slots = Slots::new(1);
        let held = slots.take(None).await.unwrap();
        let deadline = Instant::now() + STUCK / 2;
        assert_eq!(slots.take(Some(deadline)).await.err(), Some(Refusal::Late));
        drop(held);
        assert!(slots.take(Some(deadline)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_lent_while_no_call_ends_and_end_with_the_calls_that_lent_them() {
        let slots = Slots::new(2);
        let stuck = all(&slots, 2).await;
        let lent = all(&slots, 2).await;
        assert_eq!(slots.lent.load(Ordering::Relaxed), 2);
        drop(stuck);
        assert_eq!((slots.lent.load(Ordering::Relaxed), slots.free.available_permits()), (0, 0));
        drop(lent);
        assert_eq!(slots.free.available_permits(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_limited_and_end_when_the_slots_are_closed() {
        let slots = Slots::new(1);
        let _held = slots.take(None).await.unwrap();
        slots.waiting.store(WAITING, Ordering::Relaxed);
        assert_eq!(slots.take(None).await.err(), Some(Refusal::Full));
        slots.waiting.store(0, Ordering::Relaxed);
        let waiting = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.take(None).await.err() }
        });
        tokio::task::yield_now().await;
        slots.close();
        assert_eq!(waiting.await.unwrap(), Some(Refusal::Closed));
        assert_eq!(slots.waiting.load(Ordering::Relaxed), 0);
    }
}
