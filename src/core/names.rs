//! Names: ids, collections, clients and tenants. Each has its own type, so that they cannot be confused.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use super::text::{Text, sha256_hex};
use crate::limits::protocol::NAME_MAX_BYTES;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadName {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than [`NAME_MAX_BYTES`].
    #[error("must have at most {NAME_MAX_BYTES} bytes of UTF-8")]
    TooLong,
    /// The text contains a control character (Unicode category Cc).
    #[error("must not contain control characters")]
    ControlCharacter,
}

fn check(text: &str) -> Result<(), BadName> {
    if text.is_empty() {
        return Err(BadName::Empty);
    }
    if text.len() > NAME_MAX_BYTES {
        return Err(BadName::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(BadName::ControlCharacter);
    }
    Ok(())
}

/// Names that a store has kept. They were checked before they were written, so they are not checked again.
pub(crate) trait FromStore {
    /// Takes the text of a name.
    fn from_store(text: impl Into<Text>) -> Self;
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 256 bytes of UTF-8 without control characters; cheap to clone.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Text);

        impl $name {
            /// Checks a text from outside.
            ///
            /// # Errors
            /// If the text is empty, is longer than 256 bytes, or contains a control character.
            pub fn parse(text: &str) -> Result<Self, BadName> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// Takes a text that the program itself has written, such as a constant.
            ///
            /// # Panics
            /// When [`Self::parse`] would refuse the text.
            #[must_use]
            pub fn literal(text: &str) -> Self {
                Self::parse(text).unwrap_or_else(|problem| panic!("the name {text:?} {problem}"))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStore for $name {
            fn from_store(text: impl Into<Text>) -> Self {
                let text = text.into();
                debug_assert!(check(&text).is_ok(), "a store has the damaged name {text:?}");
                Self(text)
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::parse(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = BadName;

            fn try_from(text: &str) -> Result<Self, BadName> {
                Self::parse(text)
            }
        }

        impl TryFrom<Text> for $name {
            type Error = BadName;

            /// Checks a text and keeps it without a copy.
            fn try_from(text: Text) -> Result<Self, BadName> {
                check(&text)?;
                Ok(Self(text))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, formatter)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// An isolated set of documents. Every key of every table begins with it.
    TenantId
}
name! {
    /// A user or program that makes requests.
    Subject
}
name! {
    /// The id of an operation, which is never used for another one.
    OperationId
}
name! {
    /// A device or browser profile that makes operations.
    ClientId
}
name! {
    /// A named set of documents.
    Collection
}
name! {
    /// The id of a document in its collection.
    DocumentId
}

/// The client id of a server, and the tenant of what servers keep for themselves. Client ids and tenants that begin
/// with it and a colon are the server's own too.
const SERVER: &str = "syncflow-server";

/// Whether a name is one of the server's own.
fn is_of_server(name: &str) -> bool {
    name.strip_prefix(SERVER).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// The beginning of the names of tenants that have the quarantine of another one.
const QUARANTINE: &str = "syncflow-server:quarantine:";

impl TenantId {
    /// The tenant that has this one's operations in quarantine. Its name ends with this one's, or with the hash of it
    /// if it would be too long.
    #[must_use]
    pub(crate) fn quarantine(&self) -> Self {
        let name = self.as_str();
        if QUARANTINE.len() + name.len() <= NAME_MAX_BYTES {
            return Self::from_store(format!("{QUARANTINE}{name}"));
        }
        Self::from_store(format!("{QUARANTINE}{}", sha256_hex(name)))
    }

    /// The tenant of what servers keep for themselves, such as the turn of a scheduled compaction.
    #[must_use]
    pub(crate) fn server() -> Self {
        Self::literal(SERVER)
    }

    /// Whether it is one of the server's own. No principal has such a tenant.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        is_of_server(self.as_str())
    }

    /// Whether it has the quarantine of a tenant.
    #[must_use]
    pub(crate) fn is_quarantine(&self) -> bool {
        self.as_str().starts_with(QUARANTINE)
    }
}

impl ClientId {
    /// The client id of a server that writes documents itself and has no name.
    #[must_use]
    pub fn server() -> Self {
        Self::literal(SERVER)
    }

    /// The client id of a server of this name.
    ///
    /// # Errors
    /// When the name is too long or has control characters.
    pub fn server_named(name: &str) -> Result<Self, BadName> {
        Self::parse(&format!("{SERVER}:{name}"))
    }

    /// The client id whose counter the server raises in a clock that has no room for the author.
    pub(crate) fn clock() -> &'static Self {
        static CLOCK: LazyLock<ClientId> = LazyLock::new(|| ClientId::literal("syncflow-server::clock"));
        &CLOCK
    }

    /// Whether the id is that of a server; no client may make requests or operations under it.
    #[must_use]
    pub fn is_server(&self) -> bool {
        is_of_server(self.as_str())
    }
}

/// The collection and id of a document, which identify it in its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentKey {
    /// The collection that the document is in.
    pub collection: Collection,
    /// The document's id in its collection.
    pub id: DocumentId,
}

impl DocumentKey {
    /// Checks the names of a document.
    ///
    /// # Errors
    /// If one of them is not a name.
    pub fn parse(collection: &str, id: &str) -> Result<Self, BadName> {
        Ok(Self { collection: Collection::parse(collection)?, id: DocumentId::parse(id)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_to_256_bytes_and_no_control_characters() {
        assert_eq!(ClientId::parse("").unwrap_err(), BadName::Empty);
        assert!(ClientId::parse(&"é".repeat(128)).is_ok());
        assert_eq!(ClientId::parse(&"é".repeat(129)).unwrap_err(), BadName::TooLong);
        for bad in ["\0", "a\nb", "\u{7f}", "\u{85}"] {
            assert_eq!(ClientId::parse(bad).unwrap_err(), BadName::ControlCharacter, "{bad:?}");
        }
        assert_eq!(ClientId::parse("Zoë's 📱 / 2").unwrap().as_str(), "Zoë's 📱 / 2");
    }

    #[test]
    fn names_of_the_server_are_reserved() {
        for (name, is_reserved) in [
            ("syncflow-server", true),
            ("syncflow-server:", true),
            ("syncflow-server::clock", true),
            ("syncflow-server:quarantine:a", true),
            ("syncflow-server-2", false),
            ("syncflow", false),
            ("a:syncflow-server", false),
        ] {
            assert_eq!(TenantId::literal(name).is_reserved(), is_reserved, "{name}");
            assert_eq!(ClientId::literal(name).is_server(), is_reserved, "{name}");
        }
        let tenant = TenantId::literal("a");
        assert!(tenant.quarantine().is_reserved() && tenant.quarantine().is_quarantine() && !tenant.is_reserved());
        assert!(TenantId::server().is_reserved() && !TenantId::server().is_quarantine());
    }

    #[test]
    fn every_way_to_a_name_checks_the_text() {
        assert_eq!("a".parse::<ClientId>(), ClientId::try_from("a"));
        assert_eq!(ClientId::try_from(Text::from("a")).unwrap().as_ref(), "a");
        assert_eq!("".parse::<ClientId>(), Err(BadName::Empty));
        assert_eq!(ClientId::try_from(Text::from("\0")), Err(BadName::ControlCharacter));
        assert!(cfg!(panic = "abort") || std::panic::catch_unwind(|| ClientId::literal("a\nb")).is_err());
    }
}
