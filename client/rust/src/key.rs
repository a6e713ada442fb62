//! Keys: the names of entries, their order, and the slots that they belong to.

use std::{fmt, str::FromStr};

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Reason, Result};

/// The longest key, in bytes of UTF-8.
pub(crate) const KEY_BYTES: usize = 1024;
/// The slots of a cluster.
const SLOTS: u64 = 16_384;

/// A path of parts that names one entry: `/Comedy:MontyPython/Sketch:CheeseShop`.
///
/// Its text is canonical: one slash before each part; the root is `/`. Keys are equal if and only if their texts are,
/// and ordered by the bytes of these. Calls take a key, or a text that is made one.
///
/// ```
/// use datastore_client::Key;
///
/// let key = Key::new("Airport:LSZS/")?;
/// assert_eq!(key.as_str(), "/Airport:LSZS");
/// assert_eq!(key.collection(), Key::new("/Airport")?);
/// # Ok::<(), datastore_client::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The key with this text, made canonical: double, leading and trailing slashes do not matter.
    ///
    /// # Errors
    /// `INVALID_KEY` for control characters, and for more than 1,024 bytes.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = canonical(text.into());
        if text.len() > KEY_BYTES {
            return Err(invalid(format!("a key has at most {KEY_BYTES} bytes of UTF-8, got {}", text.len())));
        }
        if let Some((place, character)) = text.char_indices().find(|(_, character)| character.is_control()) {
            return Err(invalid(format!("a key cannot contain {character:?} (a control character), at byte {place}")));
        }
        Ok(Self(text))
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// The root, `/`.
    #[must_use]
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key below this one with one more part, or several: `/a` and `b` are `/a/b`.
    ///
    /// # Errors
    /// `INVALID_KEY`, as for [`Key::new`].
    pub fn child(&self, part: &str) -> Result<Self> {
        Self::new(format!("{}/{part}", self.0))
    }

    /// The key of an instance in the collection of this key: `/Airport` and `LSZS` are `/Airport:LSZS`.
    ///
    /// # Errors
    /// `INVALID_KEY`, as for [`Key::new`].
    pub fn instance(&self, name: &str) -> Result<Self> {
        Self::new(format!("{}:{name}", self.0))
    }

    /// The key of the collection that this key belongs to: `/a` for `/a/b`, `/a:b` and `/a:b:c`.
    #[must_use]
    pub fn collection(&self) -> Self {
        let (parents, last) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        let text = match last.split_once(':') {
            Some((kind, _)) if !kind.is_empty() => &self.0[..parents.len() + 1 + kind.len()],
            _ => parents,
        };
        if text.is_empty() { Self::root() } else { Self(text.to_owned()) }
    }

    /// A hash of the text that is the same in every language and release: xxh3-64 modulo 2^60.
    #[must_use]
    pub fn hash(&self) -> u64 {
        xxh3_64(self.0.as_bytes()) & ((1 << 60) - 1)
    }

    /// The slot of the key, from 0 to 16,383, in a cluster that is sharded by key.
    #[must_use]
    pub fn slot(&self) -> u16 {
        u16::try_from(self.hash() % SLOTS).unwrap_or_default()
    }

    /// The slot of the key in a cluster that is sharded by collection.
    #[must_use]
    pub fn collection_slot(&self) -> u16 {
        self.collection().slot()
    }
}

fn invalid(message: String) -> Error {
    Error::new(Reason::InvalidKey, message).with_field("key")
}

fn canonical(text: String) -> String {
    let is_canonical = text.starts_with('/') && !text.contains("//") && (text.len() == 1 || !text.ends_with('/'));
    if is_canonical {
        return text;
    }
    let mut result = String::with_capacity(text.len() + 1);
    for part in text.split('/').filter(|part| !part.is_empty()) {
        result.push('/');
        result.push_str(part);
    }
    if result.is_empty() { "/".to_owned() } else { result }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({:?})", self.0)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Key {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for Key {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<&String> for Key {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self> {
        Self::new(text.as_str())
    }
}

impl From<&Key> for Key {
    fn from(key: &Key) -> Self {
        key.clone()
    }
}
