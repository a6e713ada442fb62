//! Queries and aggregates as messages, checked.

use std::collections::HashSet;

use crate::{
    aggregate::{Aggregate, Function},
    entry::Entry,
    error::{Error, Reason, Result},
    proto::datastore::v1::{
        self as messages, CompositeFilter, FieldFilter, Position, QueryScope, QueryView, aggregation,
        composite_filter::Joint, field_filter, filter::Kind, order::Direction,
    },
    query::{Filter, Operator, Order, Query},
    sort_key,
    value::Value,
    wire::values::{encode, metadata_message},
};

/// The largest request of a query, in bytes.
pub(crate) const QUERY_REQUEST_BYTES: usize = 12 * 1024 * 1024;
/// The longest path of a field, in bytes.
const FIELD_PATH_BYTES: usize = 1024;
/// The most comparisons, orders and fields of a query.
const FILTERS: usize = 64;
const ORDERS: usize = 16;
const FIELDS: usize = 256;
/// The deepest nesting of joined filters.
const FILTER_DEPTH: usize = 16;
/// The longest sort key that is sent; in place of a longer one the value is.
const SORT_KEY_BYTES: usize = 64 * 1024;

/// The message of a query.
///
/// # Errors
/// `INVALID_QUERY` for an empty path and what an operator does not take, `LIMIT_EXCEEDED` for more than any server
/// accepts, and those of the values of filters.
pub(crate) fn query_message(query: &Query) -> Result<messages::Query> {
    check_count("filters", query.filters.iter().map(comparisons).sum(), FILTERS)?;
    check_count("orders", query.orders.len(), ORDERS)?;
    check_count("fields", query.fields.len(), FIELDS)?;
    if query.is_keys_only && !query.fields.is_empty() {
        return Err(invalid("a keys-only query returns no fields of values; leave out one of the two"));
    }
    Ok(messages::Query {
        key: Some(messages::Key { text: query.key.as_str().to_owned() }),
        scope: if query.is_recursive { QueryScope::Recursive } else { QueryScope::Collection }.into(),
        filters: query.filters.iter().map(|filter| filter_message(filter, 0)).collect::<Result<_>>()?,
        orders: orders(&query.orders)?,
        limit: query.limit.map(count),
        offset: count(query.offset),
        view: if query.is_keys_only { QueryView::KeysOnly } else { QueryView::Entries }.into(),
        start_after: query.start_after.as_deref().map(|entry| position(entry, &query.orders)).transpose()?,
        field_paths: query.fields.iter().map(|path| checked(path)).collect::<Result<_>>()?,
        include_metadata: query.with_metadata,
    })
}

impl TryFrom<&Query> for messages::Query {
    type Error = Error;

    fn try_from(query: &Query) -> Result<Self> {
        query_message(query)
    }
}

/// The message of a query whose entries are watched: it has a key, a scope, filters and a view only.
pub(crate) fn watch_query(query: &Query) -> Result<messages::Query> {
    let message = query_message(query)?;
    let is_more = !message.orders.is_empty()
        || message.limit.is_some()
        || message.offset != 0
        || message.start_after.is_some()
        || !message.field_paths.is_empty()
        || message.include_metadata;
    if is_more {
        return Err(invalid("a watch takes the key, scope and filters of a query, and keys_only; leave out the rest"));
    }
    Ok(message)
}

/// The request of an aggregate.
pub(crate) fn aggregate_request(aggregate: &Aggregate) -> Result<messages::AggregateRequest> {
    check_aggregate(aggregate)?;
    let aggregations = aggregate.aggregations.iter().map(|(name, function, path)| {
        Ok(messages::Aggregation {
            name: checked(name)?,
            function: function_of(*function).into(),
            field_path: if *function == Function::Count && path.is_empty() { String::new() } else { checked(path)? },
        })
    });
    Ok(messages::AggregateRequest {
        query: Some(query_message(&aggregate.query)?),
        aggregations: aggregations.collect::<Result<_>>()?,
        group_by: aggregate.group_by.iter().map(|path| checked(path)).collect::<Result<_>>()?,
        orders: orders(&aggregate.orders)?,
        limit: aggregate.limit.map(count),
        partial_state: false,
    })
}

/// Refuses an aggregate of nothing, one with a name that is taken, and one of parts of entries.
fn check_aggregate(aggregate: &Aggregate) -> Result<()> {
    let Aggregate { query, aggregations, group_by, orders, .. } = aggregate;
    check_count("fields", aggregations.len() + group_by.len(), FIELDS)?;
    if aggregations.is_empty() {
        return Err(invalid("an aggregate has at least one aggregation, e.g. count"));
    }
    if query.is_keys_only || !query.fields.is_empty() || query.with_metadata {
        return Err(invalid("an aggregate is of whole entries: leave out keys_only, fields and with_metadata"));
    }
    let mut names = HashSet::new();
    let all = aggregations.iter().map(|(name, ..)| name).chain(group_by);
    if let Some(twice) = all.into_iter().find(|name| !names.insert(name.as_str())) {
        return Err(invalid(format!("{twice:?} is the name of two parts of an aggregate")));
    }
    match orders.iter().find(|order| !names.contains(order.path.as_str())) {
        Some(order) => Err(invalid(format!("{:?} is neither in group_by nor an aggregation", order.path))),
        None => Ok(()),
    }
}

fn function_of(function: Function) -> aggregation::Function {
    match function {
        Function::Count => aggregation::Function::Count,
        Function::Sum => aggregation::Function::Sum,
        Function::Avg => aggregation::Function::Avg,
        Function::Min => aggregation::Function::Min,
        Function::Max => aggregation::Function::Max,
    }
}

/// A limit or an offset; no store holds as many entries as do not fit.
fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Reason::InvalidQuery, message)
}

fn check_count(name: &str, count: usize, maximum: usize) -> Result<()> {
    if count <= maximum {
        return Ok(());
    }
    Err(Error::limit(name, maximum, format!("a query has at most {maximum} {name}, got {count}")))
}

/// A path, if it is one.
fn checked(path: &str) -> Result<String> {
    if path.is_empty() {
        return Err(invalid("a path of a field is empty; name a member, e.g. \"country\" or \"geo.lat\""));
    }
    if path.len() > FIELD_PATH_BYTES {
        return Err(invalid(format!("a path of a field has at most {FIELD_PATH_BYTES} bytes, got {}", path.len())));
    }
    Ok(path.to_owned())
}

fn comparisons(filter: &Filter) -> usize {
    match filter {
        Filter::Field { .. } => 1,
        Filter::And(filters) | Filter::Or(filters) => filters.iter().map(comparisons).sum(),
        Filter::Not(filter) => comparisons(filter),
    }
}

fn filter_message(filter: &Filter, depth: usize) -> Result<messages::Filter> {
    let kind = match filter {
        Filter::Field { path, operator, value } => {
            check_operand(*operator, value)?;
            Kind::Field(FieldFilter {
                field_path: checked(path)?,
                operator: operator_of(*operator).into(),
                value: Some(encode(value.clone())?),
            })
        }
        Filter::And(filters) => joined(Joint::And, filters, depth)?,
        Filter::Or(filters) => joined(Joint::Or, filters, depth)?,
        Filter::Not(filter) => joined(Joint::Not, std::slice::from_ref(filter.as_ref()), depth)?,
    };
    Ok(messages::Filter { kind: Some(kind) })
}

fn joined(joint: Joint, filters: &[Filter], depth: usize) -> Result<Kind> {
    check_count("filter_depth", depth + 1, FILTER_DEPTH)?;
    if filters.is_empty() {
        return Err(invalid("a joined filter has at least one condition"));
    }
    let filters = filters.iter().map(|filter| filter_message(filter, depth + 1)).collect::<Result<_>>()?;
    Ok(Kind::Composite(CompositeFilter { joint: joint.into(), filters }))
}

/// Refuses a value of a kind that the operator does not take.
fn check_operand(operator: Operator, value: &Value) -> Result<()> {
    let (takes, is_taken) = match operator {
        Operator::In | Operator::NotIn => ("a list of values", matches!(value, Value::List(_))),
        Operator::StartsWith => {
            ("a string, bytes or a key", matches!(value, Value::String(_) | Value::Bytes(_) | Value::Key(_)))
        }
        Operator::Exists => ("a bool", matches!(value, Value::Bool(_))),
        _ => return Ok(()),
    };
    if is_taken { Ok(()) } else { Err(invalid(format!("{operator:?} takes {takes}, not {}", value.kind()))) }
}

fn operator_of(operator: Operator) -> field_filter::Operator {
    match operator {
        Operator::Lt => field_filter::Operator::LessThan,
        Operator::Le => field_filter::Operator::LessThanOrEqual,
        Operator::Eq => field_filter::Operator::Equal,
        Operator::Ne => field_filter::Operator::NotEqual,
        Operator::Ge => field_filter::Operator::GreaterThanOrEqual,
        Operator::Gt => field_filter::Operator::GreaterThan,
        Operator::In => field_filter::Operator::In,
        Operator::NotIn => field_filter::Operator::NotIn,
        Operator::StartsWith => field_filter::Operator::StartsWith,
        Operator::Contains => field_filter::Operator::Contains,
        Operator::Exists => field_filter::Operator::Exists,
    }
}

fn orders(orders: &[Order]) -> Result<Vec<messages::Order>> {
    let messages = orders.iter().map(|order| {
        let direction = if order.is_descending { Direction::Descending } else { Direction::Ascending };
        Ok(messages::Order { field_path: checked(&order.path)?, direction: direction.into() })
    });
    messages.collect()
}

/// The place after an entry: its sort key or, if that is too long, its value.
fn position(entry: &Entry, orders: &[Order]) -> Result<Position> {
    let key = Some(messages::Key { text: entry.key.as_str().to_owned() });
    let sort_key = sort_key_of(entry, orders)?;
    if sort_key.len() <= SORT_KEY_BYTES {
        return Ok(Position { sort_key, key, ..Position::default() });
    }
    let reads_metadata = orders.iter().any(|order| is_metadata(&order.path));
    Ok(Position {
        sort_key: Vec::new(),
        key,
        value: entry.value.clone().map(encode).transpose()?,
        metadata: entry.metadata.as_ref().filter(|_| reads_metadata).map(metadata_message),
    })
}

fn is_metadata(path: &str) -> bool {
    matches!(path, "__version__" | "__create_time__" | "__update_time__")
}

/// The bytes by which an entry is sorted under orders.
pub(crate) fn sort_key_of(entry: &Entry, orders: &[Order]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for Order { path, is_descending } in orders {
        let own = match path.as_str() {
            "__key__" => Some(Value::Key(entry.key.clone())),
            "__version__" => Some(Value::Int(metadata(entry)?.version)),
            "__create_time__" => Some(Value::Timestamp(metadata(entry)?.create_time)),
            "__update_time__" => Some(Value::Timestamp(metadata(entry)?.update_time)),
            _ => None,
        };
        let field = if path == "__value__" { entry.value.as_ref() } else { entry.get(path) };
        sort_key::encode(own.as_ref().or(field), *is_descending, &mut bytes);
    }
    Ok(bytes)
}

fn metadata(entry: &Entry) -> Result<&crate::entry::Metadata> {
    let missing = || invalid("start_after needs the metadata of its entry, by which the query is ordered");
    entry.metadata.as_ref().ok_or_else(missing)
}
