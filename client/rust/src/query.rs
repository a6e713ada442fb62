//! Queries: which entries, in which order, how many. Pure data; they are checked when they are sent.

use std::ops::{BitAnd, BitOr, Not};

use crate::{
    entry::Entry,
    error::{Error, Result},
    key::Key,
    value::Value,
};

/// Which entries to read, in which order, and how much of them.
///
/// ```
/// use datastore_client::{Query, field};
///
/// let query = Query::new("/Airport")?
///     .filter(field("country").eq("CH") | field("elevation").ge(5000))
///     .order("-elevation")
///     .limit(10);
/// # Ok::<(), datastore_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a part of a query that is there or not")]
pub struct Query {
    pub(crate) key: Key,
    pub(crate) is_recursive: bool,
    pub(crate) filters: Vec<Filter>,
    pub(crate) orders: Vec<Order>,
    pub(crate) limit: Option<u64>,
    pub(crate) offset: u64,
    pub(crate) is_keys_only: bool,
    pub(crate) fields: Vec<String>,
    pub(crate) with_metadata: bool,
    pub(crate) start_after: Option<Box<Entry>>,
    pub(crate) allow_partial: bool,
    pub(crate) explain: bool,
}

impl Query {
    /// The entries of a collection: for `/a` those such as `/a/b`, `/a:b` and `/a:b:c`.
    ///
    /// # Errors
    /// `INVALID_KEY` if a text is not a key.
    pub fn new<K: TryInto<Key, Error: Into<Error>>>(key: K) -> Result<Self> {
        Ok(Self {
            key: key.try_into().map_err(Into::into)?,
            is_recursive: false,
            filters: Vec::new(),
            orders: Vec::new(),
            limit: None,
            offset: 0,
            is_keys_only: false,
            fields: Vec::new(),
            with_metadata: false,
            start_after: None,
            allow_partial: false,
            explain: false,
        })
    }

    /// Everything below the key, not only its collection.
    #[must_use]
    pub fn recursive(mut self) -> Self {
        self.is_recursive = true;
        self
    }

    /// Only entries that match; all filters of a query must.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    /// Sorted by a field: `"country"`, `"-elevation"` for the highest first, or an [`Order`]. Later orders break the
    /// ties of earlier ones, and the key the remaining ones.
    #[must_use]
    pub fn order(mut self, order: impl Into<Order>) -> Self {
        self.orders.push(order.into());
        self
    }

    /// At most this many entries.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Skips this many matching entries.
    #[must_use]
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// Without values.
    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.is_keys_only = true;
        self
    }

    /// Only these fields of each value, in maps nested as in the value.
    #[must_use]
    pub fn fields<T: Into<String>>(mut self, fields: impl IntoIterator<Item = T>) -> Self {
        self.fields = fields.into_iter().map(Into::into).collect();
        self
    }

    /// With the metadata of each entry.
    #[must_use]
    pub fn with_metadata(mut self) -> Self {
        self.with_metadata = true;
        self
    }

    /// Only entries after this one in the order of the query. With orders the entry needs its value, or the fields that
    /// they name.
    #[must_use]
    pub fn start_after(mut self, entry: Entry) -> Self {
        self.start_after = Some(Box::new(entry));
        self
    }

    /// Complete without the shards that cannot be reached; the summary lists them.
    #[must_use]
    pub fn allow_partial(mut self) -> Self {
        self.allow_partial = true;
        self
    }

    /// Have the summary say how the query was evaluated.
    #[must_use]
    pub fn explain(mut self) -> Self {
        self.explain = true;
        self
    }
}

/// One sort criterion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub(crate) path: String,
    pub(crate) is_descending: bool,
}

impl Order {
    /// Lowest first. A missing field sorts as null, before everything else.
    pub fn ascending(path: impl Into<String>) -> Self {
        Self { path: path.into(), is_descending: false }
    }

    /// Highest first.
    pub fn descending(path: impl Into<String>) -> Self {
        Self { path: path.into(), is_descending: true }
    }
}

/// A path with an optional sign: `-elevation` is descending.
impl From<&str> for Order {
    fn from(text: &str) -> Self {
        match text.strip_prefix('-') {
            Some(path) => Self::descending(path),
            None => Self::ascending(text.strip_prefix('+').unwrap_or(text)),
        }
    }
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Less than.
    Lt,
    /// Less than or equal.
    Le,
    /// Equal; a missing field equals null.
    Eq,
    /// Exactly what [`Operator::Eq`] does not match.
    Ne,
    /// Greater than or equal.
    Ge,
    /// Greater than.
    Gt,
    /// Equal to an element of a list.
    In,
    /// Exactly what [`Operator::In`] does not match.
    NotIn,
    /// A text, bytes or a key that begins so.
    StartsWith,
    /// A list with such an element, or a text or bytes with such a part.
    Contains,
    /// Present and not null, or not.
    Exists,
}

/// A condition that entries must match. Join filters by `&`, `|` and `!`.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// A field compared with a value, without coercion: `"3"` is not `3`.
    Field {
        /// The field: a name in the map, or names joined by dots; `__key__`, `__value__`, `__version__`,
        /// `__create_time__` and `__update_time__` have meanings of their own.
        path: String,
        /// How it is compared.
        operator: Operator,
        /// What it is compared with.
        value: Value,
    },
    /// All of them match.
    And(Vec<Filter>),
    /// At least one of them matches.
    Or(Vec<Filter>),
    /// It does not match.
    Not(Box<Filter>),
}

impl BitAnd for Filter {
    type Output = Filter;

    fn bitand(self, other: Filter) -> Filter {
        match self {
            Filter::And(mut filters) => {
                filters.push(other);
                Filter::And(filters)
            }
            first => Filter::And(vec![first, other]),
        }
    }
}

impl BitOr for Filter {
    type Output = Filter;

    fn bitor(self, other: Filter) -> Filter {
        match self {
            Filter::Or(mut filters) => {
                filters.push(other);
                Filter::Or(filters)
            }
            first => Filter::Or(vec![first, other]),
        }
    }
}

impl Not for Filter {
    type Output = Filter;

    fn not(self) -> Filter {
        Filter::Not(Box::new(self))
    }
}

/// A field, to compare: `field("elevation").ge(5000)`.
pub fn field(path: impl Into<String>) -> Field {
    Field(path.into())
}

/// A field of entries; see [`field`].
#[derive(Clone, Debug)]
pub struct Field(String);

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident $operator:ident,)*) => {
        impl Field {
            $(
                $(#[$doc])*
                pub fn $name(self, value: impl Into<Value>) -> Filter {
                    self.compared(Operator::$operator, value.into())
                }
            )*
        }
    };
}

comparisons! {
    /// Less than a value of its kind.
    lt Lt,
    /// At most a value of its kind.
    le Le,
    /// Equal to a value; a missing field equals null.
    eq Eq,
    /// Not equal to a value.
    ne Ne,
    /// At least a value of its kind.
    ge Ge,
    /// Greater than a value of its kind.
    gt Gt,
    /// A text, bytes or a key that begins with a value of the same kind.
    starts_with StartsWith,
    /// A list with this element, or a text or bytes with this part.
    contains Contains,
}

impl Field {
    /// Equal to one of these values.
    pub fn is_in<T: Into<Value>>(self, values: impl IntoIterator<Item = T>) -> Filter {
        self.compared(Operator::In, Value::list(values))
    }

    /// Equal to none of these values.
    pub fn not_in<T: Into<Value>>(self, values: impl IntoIterator<Item = T>) -> Filter {
        self.compared(Operator::NotIn, Value::list(values))
    }

    /// Present and not null.
    #[must_use]
    pub fn exists(self) -> Filter {
        self.compared(Operator::Exists, Value::Bool(true))
    }

    /// Compared in this way.
    #[must_use]
    pub fn compared(self, operator: Operator, value: Value) -> Filter {
        Filter::Field { path: self.0, operator, value }
    }
}
