//! Aggregates: counts, sums, means, minima and maxima of the entries that a query selects. Pure data.

use crate::{
    query::{Order, Query},
    value::Value,
};

/// How an aggregation is computed. NaN, null and ties are as in docs/protocol.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// How many entries there are; with a field, how many have it.
    Count,
    /// The exact sum of the numbers in a field; 0 without any.
    Sum,
    /// The mean of the numbers in a field; null without any.
    Avg,
    /// The first value of a field in the total order; null without any.
    Min,
    /// The last value of a field in the total order; null without any.
    Max,
}

/// What to compute of the entries of a query.
///
/// ```
/// use datastore_client::{Aggregate, Query};
///
/// let by_country = Aggregate::new(Query::new("/Airport")?)
///     .count("airports")
///     .max("elevation", "highest")
///     .group_by("country")
///     .order("-airports")
///     .limit(10);
/// # Ok::<(), datastore_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    pub(crate) query: Query,
    pub(crate) aggregations: Vec<(String, Function, String)>,
    pub(crate) group_by: Vec<String>,
    pub(crate) orders: Vec<Order>,
    pub(crate) limit: Option<u64>,
}

impl Aggregate {
    /// Of the entries of a query, without aggregations yet; there must be at least one.
    #[must_use]
    pub fn new(query: Query) -> Self {
        Self { query, aggregations: Vec::new(), group_by: Vec::new(), orders: Vec::new(), limit: None }
    }

    /// How many entries there are.
    #[must_use]
    pub fn count(self, name: impl Into<String>) -> Self {
        self.with(Function::Count, "", name)
    }

    /// The sum of the numbers in a field.
    #[must_use]
    pub fn sum(self, path: impl Into<String>, name: impl Into<String>) -> Self {
        self.with(Function::Sum, path, name)
    }

    /// The mean of the numbers in a field.
    #[must_use]
    pub fn avg(self, path: impl Into<String>, name: impl Into<String>) -> Self {
        self.with(Function::Avg, path, name)
    }

    /// The first value of a field.
    #[must_use]
    pub fn min(self, path: impl Into<String>, name: impl Into<String>) -> Self {
        self.with(Function::Min, path, name)
    }

    /// The last value of a field.
    #[must_use]
    pub fn max(self, path: impl Into<String>, name: impl Into<String>) -> Self {
        self.with(Function::Max, path, name)
    }

    /// A function of a field, by which [`Function::Count`] may go too; without one its path is empty.
    #[must_use]
    pub fn with(mut self, function: Function, path: impl Into<String>, name: impl Into<String>) -> Self {
        self.aggregations.push((name.into(), function, path.into()));
        self
    }

    /// For each group of entries that are equal in this field, and in those of other calls.
    #[must_use]
    pub fn group_by(mut self, path: impl Into<String>) -> Self {
        self.group_by.push(path.into());
        self
    }

    /// Groups sorted by a field of theirs or the name of an aggregation, e.g. `"-airports"`.
    #[must_use]
    pub fn order(mut self, order: impl Into<Order>) -> Self {
        self.orders.push(order.into());
        self
    }

    /// At most this many groups.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// The results of one group of entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its value of each field of `group_by`, in their order.
    pub group: Vec<Value>,
    /// The result of each aggregation, in their order.
    pub values: Vec<Value>,
}
