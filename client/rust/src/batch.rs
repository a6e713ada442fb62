//! Writes of a batch in one message: what fits, what may be sent again, and how each ended. Makes no calls.

use std::collections::HashSet;

use bytes::Bytes;
use prost::Message;

use crate::{
    entry::Metadata,
    error::{Error, Reason, Result},
    proto::datastore::v1::{
        BatchWriteRequest, BatchWriteResponse, batch_write_request, batch_write_request::write::Operation,
    },
    sending::{Attempts, Sending, outcome},
    wire::{Attempt, ENTRY_BYTES, metadata_of, of_answer},
};

/// The most items of a message.
pub(crate) const ITEMS: usize = 1000;
/// The most bytes of a message with writes; one entry always fits.
const PART_BYTES: usize = ENTRY_BYTES + 64 * 1024;
/// What an item has besides its write: its length and an attempt, in bytes.
const FRAME_BYTES: usize = 48;

/// How a write of a batch ended: with the metadata of the entry as stored, if there is one.
pub(crate) type Outcome = Result<Option<Metadata>>;

/// The writes of one message.
pub(crate) struct Part {
    request: BatchWriteRequest,
    attempts: Attempts,
    /// The places of the writes in the batch of the caller.
    places: Vec<usize>,
    /// For each write the error of its first attempt that may have been made.
    unknown: Vec<Option<Error>>,
    bytes: usize,
}

impl Part {
    pub(crate) fn new(is_atomic: bool) -> Self {
        let request = BatchWriteRequest { writes: Vec::new(), atomic: is_atomic };
        Self { request, attempts: Attempts::default(), places: Vec::new(), unknown: Vec::new(), bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether one more write leaves the message within its limits; the first always does.
    pub(crate) fn fits(&self, write: &batch_write_request::Write, most: usize) -> bool {
        let is_within = self.bytes + write.encoded_len() + FRAME_BYTES <= PART_BYTES;
        self.places.is_empty() || (self.places.len() < most && is_within)
    }

    /// Adds the write at a place of the batch of the caller.
    pub(crate) fn add(&mut self, place: usize, write: batch_write_request::Write, attempt: Option<Attempt>) {
        self.bytes += write.encoded_len() + FRAME_BYTES;
        self.request.writes.push(write);
        self.attempts.list.extend(attempt);
        self.places.push(place);
        self.unknown.push(None);
    }

    /// The same writes as parts of at most `most`, in order.
    pub(crate) fn split(self, most: usize) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut attempts = self.attempts.list.into_iter();
        for ((place, write), unknown) in self.places.into_iter().zip(self.request.writes).zip(self.unknown) {
            if parts.last().is_none_or(|part| part.len() >= most) {
                parts.push(Part::new(self.request.atomic));
            }
            if let Some(part) = parts.last_mut() {
                part.add(place, write, attempts.next());
                *part.unknown.last_mut().expect("a write was added") = unknown;
            }
        }
        parts
    }

    /// The error of the first attempt of the whole message that may have been made, if there is one.
    pub(crate) fn unknown_error(&self) -> Option<&Error> {
        self.attempts.unknown.as_ref()
    }

    /// The errors of the items of a response. Those of writes that did not reach their store, but may have been made
    /// before, are those of the earlier attempts.
    pub(crate) fn outcomes(&mut self, response: BatchWriteResponse) -> Result<Vec<Outcome>> {
        if response.results.len() != self.len() {
            let message = format!("the server returned {} results for {} writes", response.results.len(), self.len());
            return Err(Error::new(Reason::CorruptData, message));
        }
        let results = response.results.into_iter().map(|result| match result.status {
            Some(status) => Err(of_answer(status)),
            None => metadata_of(result.metadata.as_ref()),
        });
        Ok(results.enumerate().map(|(at, result)| result.map_err(|error| self.noted(at, error))).collect())
    }

    /// The outcomes if the whole message failed.
    pub(crate) fn failed(&mut self, error: &Error) -> Vec<Outcome> {
        (0..self.len()).map(|at| Err(self.noted(at, error.clone()))).collect()
    }

    fn noted(&mut self, at: usize, error: Error) -> Error {
        if self.unknown[at].is_none() {
            self.unknown[at].clone_from(&self.attempts.unknown);
        }
        if error.is_outcome_unknown() {
            self.attempts.follow(at);
            self.unknown[at].get_or_insert_with(|| error.clone());
        }
        outcome(error, self.unknown[at].as_ref())
    }

    /// The error of an item whose write may be sent again, if there is one; those that may not are left out of the part
    /// from here on, and their outcomes are passed on. A write to a key that a later one has written since, or may
    /// have, is not repeated.
    pub(crate) fn settle(&mut self, outcomes: Vec<Outcome>, results: &mut [Outcome]) -> Option<Error> {
        let repeated = self.repeatable(&outcomes);
        let first = repeated.iter().position(|&is_repeated| is_repeated).and_then(|at| outcomes[at].clone().err());
        for (outcome, &place) in outcomes.into_iter().zip(&self.places) {
            results[place] = outcome;
        }
        // All of an atomic batch are sent again, or none.
        if self.request.atomic && repeated.contains(&false) {
            return None;
        }
        retain(&mut self.request.writes, &repeated);
        retain(&mut self.places, &repeated);
        retain(&mut self.unknown, &repeated);
        retain(&mut self.attempts.list, &repeated);
        self.attempts.unknown = None;
        first
    }

    /// For each write whether it may be sent again.
    fn repeatable(&self, outcomes: &[Outcome]) -> Vec<bool> {
        let is_repeating = !self.attempts.list.is_empty();
        let mut written = HashSet::new();
        let mut repeated = vec![false; outcomes.len()];
        for (at, (outcome, write)) in outcomes.iter().zip(&self.request.writes).enumerate().rev() {
            let key = key_of(write);
            let may_follow = |error: &Error| error.may_repeat() || (is_repeating && error.is_outcome_unknown());
            if outcome.as_ref().is_err_and(may_follow) {
                repeated[at] = !written.contains(key);
            } else {
                written.insert(key);
            }
        }
        repeated
    }
}

fn retain<T>(items: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    items.retain(|_| kept.next().copied().unwrap_or_default());
}

fn key_of(write: &batch_write_request::Write) -> &str {
    let key = match &write.operation {
        Some(Operation::Put(entry)) => entry.key.as_ref(),
        Some(Operation::Delete(key) | Operation::Touch(key)) => Some(key),
        Some(Operation::Patch(patch)) => patch.key.as_ref(),
        None => None,
    };
    key.map(|key| key.text.as_str()).unwrap_or_default()
}

impl Sending for Part {
    fn bytes(&mut self) -> Bytes {
        let attempts = self.attempts.messages();
        for (write, attempt) in self.request.writes.iter_mut().zip(attempts) {
            write.attempt = Some(attempt);
        }
        self.request.encode_to_vec().into()
    }

    fn may_follow(&mut self, error: &Error) -> bool {
        self.attempts.may_follow(error)
    }
}

/// How many items the server accepts in a message, if it refused one for having more.
pub(crate) fn fewer_items(error: &Error, items: usize) -> Option<usize> {
    let details = error.details();
    let is_limit = error.reason() == Reason::LimitExceeded && details.limit.as_deref() == Some("batch_items");
    let most = usize::try_from(details.maximum.filter(|_| is_limit)?).ok()?;
    (1..items).contains(&most).then_some(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{wire::write_message, write::Write};

    fn part(keys: &[&str], is_atomic: bool) -> Part {
        let mut part = Part::new(is_atomic);
        for (place, key) in keys.iter().enumerate() {
            part.add(place, write_message(Write::put(*key, 1).unwrap()).unwrap(), None);
        }
        part
    }

    fn busy() -> Outcome {
        Err(Error::new(Reason::Overloaded, "busy").with_retry_after(std::time::Duration::ZERO))
    }

    fn failed() -> Outcome {
        Err(Error::new(Reason::ConditionFailed, "no"))
    }

    #[test]
    fn a_write_is_repeated_unless_a_later_one_of_its_key_was_made() {
        let mut part = part(&["/a", "/b", "/a", "/c"], false);
        let mut results = vec![Ok(None); 4];
        let again = part.settle(vec![busy(), busy(), Ok(None), failed()], &mut results);
        assert_eq!(again.map(|error| error.reason()), Some(Reason::Overloaded));
        assert_eq!(part.places, [1]);
        assert_eq!(results[0].as_ref().unwrap_err().reason(), Reason::Overloaded);
        assert_eq!(results[3].as_ref().unwrap_err().reason(), Reason::ConditionFailed);
    }

    #[test]
    fn writes_of_a_key_are_repeated_together() {
        let mut part = part(&["/a", "/a"], false);
        part.settle(vec![busy(), busy()], &mut [Ok(None), Ok(None)]);
        assert_eq!(part.places, [0, 1]);
    }

    #[test]
    fn an_atomic_batch_is_repeated_as_a_whole() {
        let mut results = vec![Ok(None); 2];
        assert!(part(&["/a", "/b"], true).settle(vec![busy(), busy()], &mut results).is_some());
        assert!(part(&["/a", "/b"], true).settle(vec![busy(), failed()], &mut results).is_none());
    }

    #[test]
    fn parts_have_so_many_items_as_a_server_takes() {
        let parts = part(&["/a", "/b", "/c"], false).split(2);
        assert_eq!(parts.iter().map(|part| part.places.clone()).collect::<Vec<_>>(), [vec![0, 1], vec![2]]);
    }

    #[test]
    fn the_first_write_always_fits() {
        let large = write_message(Write::put("/a", "x".repeat(ENTRY_BYTES - 100)).unwrap()).unwrap();
        let mut part = Part::new(false);
        assert!(part.fits(&large, 1));
        part.add(0, large.clone(), None);
        assert!(!part.fits(&large, ITEMS));
    }
}
