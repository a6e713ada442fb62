//! What a query shows of entries that a server has sent whole, so that they can be sent back.

use std::collections::BTreeMap;

use crate::{entry::Entry, proto::datastore::v1 as messages, value::Value};

/// Leaves of the entries of an answer what their query asks for: the last one, if it `is_whole`, may have more.
pub(crate) fn cut(entries: &mut [Entry], query: &messages::Query, is_whole: bool) {
    if query.view() == messages::QueryView::KeysOnly {
        entries.iter_mut().for_each(|entry| entry.value = None);
    } else if let Some(last) = entries.last_mut().filter(|_| is_whole && !query.field_paths.is_empty()) {
        last.value = last.value.take().map(|value| projected(&value, &query.field_paths));
    }
}

/// A value cut to fields, nested as in it: of `geo.lat` the map `geo` with only the member `lat`.
fn projected(value: &Value, paths: &[String]) -> Value {
    let mut kept = BTreeMap::new();
    if let Value::Map(members) = value {
        paths.iter().for_each(|path| keep(members, path, &mut kept));
    }
    Value::Map(kept)
}

fn keep(members: &BTreeMap<String, Value>, path: &str, kept: &mut BTreeMap<String, Value>) {
    if let Some(value) = members.get(path) {
        kept.insert(path.to_owned(), value.clone());
        return;
    }
    let Some((first, rest)) = path.split_once('.') else { return };
    let Some(inner @ Value::Map(inner_members)) = members.get(first) else { return };
    if inner.get(rest).is_some()
        && let Value::Map(inner_kept) = kept.entry(first.to_owned()).or_insert_with(|| Value::Map(BTreeMap::new()))
    {
        keep(inner_members, rest, inner_kept);
    }
}
