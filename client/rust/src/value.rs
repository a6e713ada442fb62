//! Values, and their conversions from and to the types of Rust.

use std::collections::BTreeMap;

use crate::{
    error::{Error, Reason, Result},
    key::Key,
    timestamp::Timestamp,
};

/// How much of a long name the path of an error shows, in characters.
const NAME_SHOWN: usize = 60;

/// One typed value. Kinds are kept: an integer is read as an integer, never as a double.
///
/// ```
/// use datastore_client::{Value, map};
///
/// let value = map! { "name" => "Samedan", "elevation" => 5600, "codes" => Value::list(["LSZS", "SMV"]) };
/// assert_eq!(value.get("elevation").and_then(Value::as_int), Some(5600));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Null, only inside lists and maps: putting a null deletes the entry.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// A double, including NaN, the infinities and -0.0.
    Double(f64),
    /// A text.
    String(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An instant, in whole microseconds.
    Timestamp(Timestamp),
    /// A reference to an entry, which need not exist.
    Key(Key),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name. The order of names has no meaning.
    Map(BTreeMap<String, Value>),
}

/// A map of names and values: `map! { "name" => "Samedan", "elevation" => 5600 }`.
#[macro_export]
macro_rules! map {
    ($($name:expr => $value:expr),* $(,)?) => {
        $crate::Value::Map(::std::collections::BTreeMap::from([
            $((::std::string::String::from($name), $crate::Value::from($value))),*
        ]))
    };
}

impl Value {
    /// A list of values.
    pub fn list<T: Into<Value>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }

    /// A map of names and values. Of a name that occurs twice, the last value counts.
    pub fn map<N: Into<String>, T: Into<Value>>(pairs: impl IntoIterator<Item = (N, T)>) -> Self {
        Self::Map(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// A list of what may not fit in a value, e.g. `u64`.
    ///
    /// # Errors
    /// That of the first element that does not fit, with its path, e.g. `value[3]`.
    pub fn try_list<T>(values: impl IntoIterator<Item = T>) -> Result<Self>
    where
        T: TryInto<Value, Error: Into<Error>>,
    {
        let values = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| value.try_into().map_err(|error| within(error.into(), &format!("[{index}]"))));
        values.collect::<Result<_>>().map(Self::List)
    }

    /// A map of names and what may not fit in a value, e.g. `u64`.
    ///
    /// # Errors
    /// That of the first member that does not fit, with its path, e.g. `value['a']`.
    pub fn try_map<N: Into<String>, T>(pairs: impl IntoIterator<Item = (N, T)>) -> Result<Self>
    where
        T: TryInto<Value, Error: Into<Error>>,
    {
        let pairs = pairs.into_iter().map(|(name, value)| {
            let name = name.into();
            match value.try_into() {
                Ok(value) => Ok((name, value)),
                Err(error) => Err(within(error.into(), &member(&name))),
            }
        });
        pairs.collect::<Result<_>>().map(Self::Map)
    }

    /// The field at a path, as filters find it: `geo.lat` is the member of that very name or, without one, the member
    /// `lat` of the map `geo`. None if there is none.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        let members = self.as_map()?;
        if let Some(value) = members.get(path) {
            return Some(value);
        }
        let (first, rest) = path.split_once('.')?;
        members.get(first)?.get(rest)
    }

    /// What kind of value it is, in words, for errors.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Double(_) => "a double",
            Self::String(_) => "a string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "a timestamp",
            Self::Key(_) => "a key",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// The path of a member, after that of its map: `['a']`.
pub(crate) fn member(name: &str) -> String {
    match name.char_indices().nth(NAME_SHOWN) {
        Some((end, _)) => format!("['{}...']", name[..end].escape_debug()),
        None => format!("['{}']", name.escape_debug()),
    }
}

/// The error of a part, whose path begins with `value`, as that of a value that has the part at `place`.
fn within(error: Error, place: &str) -> Error {
    let Some(path) = error.details().path.clone() else { return error };
    let outer = format!("value{place}{}", path.strip_prefix("value").unwrap_or_default());
    let message = error.to_string().replacen(&path, &outer, 1);
    let mut error = error.with_message(message);
    error.details_mut().path = Some(outer);
    error
}

macro_rules! from {
    ($($type:ty => $kind:ident,)*) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$kind(value.into())
            }
        })*
    };
}

from! {
    bool => Bool,
    i8 => Int,
    i16 => Int,
    i32 => Int,
    i64 => Int,
    u8 => Int,
    u16 => Int,
    u32 => Int,
    f32 => Double,
    f64 => Double,
    &str => String,
    String => String,
    &String => String,
    char => String,
    Vec<u8> => Bytes,
    &[u8] => Bytes,
    Timestamp => Timestamp,
    Key => Key,
    &Key => Key,
    Vec<Value> => List,
    BTreeMap<String, Value> => Map,
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::Null
    }
}

impl From<&Value> for Value {
    fn from(value: &Value) -> Self {
        value.clone()
    }
}

/// Null for `None`.
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! try_from_integer {
    ($($type:ty)*) => {
        $(impl TryFrom<$type> for Value {
            type Error = Error;

            fn try_from(value: $type) -> Result<Self> {
                let value = i64::try_from(value);
                value.map(Self::Int).map_err(|_| Error::value("value", "is an integer that does not fit in 64 bits"))
            }
        })*
    };
}

try_from_integer! { u64 u128 usize i128 isize }

macro_rules! read {
    ($($as:ident $try_from:ty, $result:ty, $what:literal: $kind:ident($value:ident) => $borrowed:expr;)*) => {
        impl Value {
            $(
                #[doc = concat!("The content, if it is ", $what, ".")]
                #[must_use]
                pub fn $as(&self) -> Option<$result> {
                    if let Self::$kind($value) = self { Some($borrowed) } else { None }
                }
            )*
        }

        $(impl TryFrom<Value> for $try_from {
            type Error = Error;

            fn try_from(value: Value) -> Result<Self> {
                match value {
                    Value::$kind($value) => Ok($value),
                    other => Err(unlike(&other, $what)),
                }
            }
        })*
    };
}

read! {
    as_bool bool, bool, "a bool": Bool(value) => *value;
    as_int i64, i64, "an int": Int(value) => *value;
    as_double f64, f64, "a double": Double(value) => *value;
    as_str String, &str, "a string": String(value) => value;
    as_bytes Vec<u8>, &[u8], "bytes": Bytes(value) => value;
    as_timestamp Timestamp, Timestamp, "a timestamp": Timestamp(value) => *value;
    as_key Key, &Key, "a key": Key(value) => value;
    as_list Vec<Value>, &[Value], "a list": List(value) => value;
    as_map BTreeMap<String, Value>, &BTreeMap<String, Value>, "a map": Map(value) => value;
}

fn unlike(value: &Value, wanted: &str) -> Error {
    let mut error = Error::new(Reason::UnsupportedType, format!("value is {}, not {wanted}", value.kind()));
    error.details_mut().path = Some("value".to_owned());
    error
}
