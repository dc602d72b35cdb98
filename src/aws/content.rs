//! The content of a secret: the JSON of RDS, a connection string, or a password.

use std::fmt;

use serde::Deserialize;

/// The content of a secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// The user and the password, and perhaps the place of the database.
    Fields(Fields),
    /// A connection string or a password.
    Text(String),
}

/// The keys of the JSON that RDS and its rotation functions store. If RDS manages a secret itself, only user and
/// password are in it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Fields {
    pub(super) engine: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<Port>,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) dbname: Option<String>,
    /// Whether connections are encrypted. DocumentDB has this key.
    pub(super) ssl: Option<bool>,
}

/// A port, which is a number in some secrets and a text in others.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Port {
    Number(u16),
    Text(String),
}

/// The engines that an error may name. It names no other text, which could be a password in the wrong place.
const ENGINES: [&str; 10] =
    ["aurora", "aurora-mysql", "db2", "mariadb", "mongo", "mysql", "oracle", "postgres", "redshift", "sqlserver"];

/// Why a secret cannot be used. The error never repeats the content of the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ContentError {
    /// The secret is empty.
    #[error("the secret is empty")]
    Empty,
    /// The secret is JSON of another layout.
    #[error("the secret is JSON without the texts \"username\" and \"password\" as RDS has them")]
    Layout,
    /// The secret belongs to another kind of database.
    #[error("the secret is one of {0}")]
    Engine(&'static str),
    /// Neither the secret nor the setting says where the database is.
    #[error("the secret does not say where the database is; set {0}, without a password")]
    NoHost(&'static str),
}

impl Content {
    /// Reads a secret.
    pub(super) fn read(text: &str) -> Result<Self, ContentError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ContentError::Empty);
        }
        // A password may begin with a brace too, but then it is not JSON.
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
            Ok(map) => {
                let fields = serde_json::from_value(serde_json::Value::Object(map));
                fields.map(Self::Fields).map_err(|_| ContentError::Layout)
            }
            Err(_) => Ok(Self::Text(text.to_owned())),
        }
    }
}

impl Fields {
    /// Refuses the secret of another kind of database.
    pub(super) fn of_engine(self, is_known: impl Fn(&str) -> bool) -> Result<Self, ContentError> {
        match self.engine {
            Some(engine) if !is_known(&engine) => {
                let named = ENGINES.into_iter().find(|known| *known == engine);
                Err(ContentError::Engine(named.unwrap_or("another kind of database")))
            }
            _ => Ok(self),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(port) => port.fmt(formatter),
            Self::Text(port) => port.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        match Content::read(text) {
            Ok(Content::Fields(fields)) => fields,
            _ => panic!("no fields in {text}"),
        }
    }

    #[test]
    fn the_layouts_of_rds_are_known() {
        let whole = fields(
            r#"{"engine":"postgres","host":"db.example","port":5432,"username":"u","password":"p","dbname":"d",
                "dbInstanceIdentifier":"db"}"#,
        );
        assert_eq!((whole.host.as_deref(), whole.dbname.as_deref()), (Some("db.example"), Some("d")));
        assert_eq!(whole.port.unwrap().to_string(), "5432");
        let text = fields(r#"{"port":"5433","username":"u","password":"p"}"#);
        assert_eq!(text.port.unwrap().to_string(), "5433");
        let managed = fields(r#"{"username":"u","password":"p"}"#);
        assert_eq!((managed.username.as_str(), managed.password.as_str(), managed.host), ("u", "p", None));
    }

    #[test]
    fn a_text_that_is_not_a_json_object_stays_a_text() {
        for text in ["postgresql://u:p@h/d", "{pass}word", "12345", "\"quoted\""] {
            assert!(matches!(Content::read(text), Ok(Content::Text(found)) if found == text), "{text}");
        }
        assert!(matches!(Content::read(" p\n"), Ok(Content::Text(text)) if text == "p"));
    }

    #[test]
    fn an_unknown_layout_is_refused_without_telling_what_is_in_it() {
        for text in [r#"{"user":"u","pw":"hunter2"}"#, r#"{"username":"u","password":["hunter2"]}"#, "{}"] {
            let error = Content::read(text).err().unwrap();
            assert_eq!(error, ContentError::Layout, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
        assert_eq!(Content::read(" ").err(), Some(ContentError::Empty));
        let mysql = fields(r#"{"engine":"mysql","username":"u","password":"p"}"#);
        assert_eq!(mysql.of_engine(|engine| engine == "postgres").err(), Some(ContentError::Engine("mysql")));
    }
}
