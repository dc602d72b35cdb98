//! Who makes a request, and what that permits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::names::{Subject, TenantId};

/// Who makes a request: the tenant whose data it is about, and what may be done there.
///
/// Only this names the tenant of a request; nothing that a client writes into a path or a body does.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Principal {
    /// The tenant whose data the request is about.
    pub tenant: TenantId,
    /// The user or program that makes the request.
    pub subject: Subject,
    /// What the subject may do in the tenant.
    pub role: Role,
    /// What else is known of the subject.
    pub claims: Claims,
    /// The time from which on the principal is no longer valid, in milliseconds since 1970; `None` for never.
    pub valid_until_ms: Option<u64>,
}

impl Principal {
    /// A principal without claims that is valid for ever.
    #[must_use]
    pub fn new(tenant: TenantId, subject: Subject, role: Role) -> Self {
        Self { tenant, subject, role, claims: Claims::default(), valid_until_ms: None }
    }

    /// The same with these claims.
    #[must_use]
    pub fn with_claims(self, claims: Claims) -> Self {
        Self { claims, ..self }
    }

    /// The same, valid until a time in milliseconds since 1970.
    #[must_use]
    pub fn valid_until_ms(self, until_ms: u64) -> Self {
        Self { valid_until_ms: Some(until_ms), ..self }
    }

    /// Whether the principal is no longer valid.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.valid_until_ms.is_some_and(|until_ms| until_ms <= now_ms)
    }
}

/// What a principal may do in its tenant; each role may do everything that the one before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Pull, read documents and query them, and see the statistics.
    Reader,
    /// Push as well.
    Writer,
    /// Compact as well.
    Admin,
    /// A program of the operator; it may do everything.
    Service,
}

impl Role {
    /// Every role, from the least powerful one.
    pub const ALL: [Self; 4] = [Self::Reader, Self::Writer, Self::Admin, Self::Service];

    /// The role of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// The role's name in tokens and settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
            Self::Service => "service",
        }
    }

    /// Whether the role permits something.
    #[must_use]
    pub fn permits(self, action: Action) -> bool {
        let least = match action {
            Action::Read => Self::Reader,
            Action::Push => Self::Writer,
            Action::Administer => Self::Admin,
        };
        self >= least
    }
}

/// What a request does with a tenant's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It reads them.
    Read,
    /// It pushes operations.
    Push,
    /// It removes history.
    Administer,
}

/// What a token says about its subject; cheap to clone.
///
/// `Debug` shows the names alone, since the values may be personal.
#[derive(Clone, Default, PartialEq)]
pub struct Claims(Arc<BTreeMap<String, Value>>);

impl Claims {
    /// Claims by their names.
    pub fn new(claims: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self(Arc::new(claims.into_iter().collect()))
    }

    /// The value at a path: the claim of exactly that name, else keys of nested objects with dots between them.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(path) {
            return Some(value);
        }
        let mut keys = path.split('.');
        let first = self.0.get(keys.next()?)?;
        keys.try_fold(first, |value, key| value.as_object()?.get(key))
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        match value {
            Value::Object(members) => Claims::new(members),
            _ => panic!("not an object"),
        }
    }

    #[test]
    fn each_role_permits_what_the_one_before_does() {
        let permitted =
            |role: Role| [Action::Read, Action::Push, Action::Administer].map(|action| role.permits(action));
        assert_eq!(permitted(Role::Reader), [true, false, false]);
        assert_eq!(permitted(Role::Writer), [true, true, false]);
        assert_eq!(permitted(Role::Admin), [true, true, true]);
        assert_eq!(permitted(Role::Service), [true, true, true]);
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        for unknown in ["", "Admin", "root", "admin "] {
            assert_eq!(Role::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_by_its_path() {
        let claims = claims(json!({"a": {"b": {"c": 1}}, "a.b": 2, "https://x.example/tenant": "t", "n": null}));
        assert_eq!(claims.get("a.b"), Some(&json!(2)));
        assert_eq!(claims.get("a.b.c"), Some(&json!(1)));
        assert_eq!(claims.get("https://x.example/tenant"), Some(&json!("t")));
        for missing in ["", "b", "a.x", "a.b.c.d", "n.x", "."] {
            assert_eq!(claims.get(missing), None, "{missing}");
        }
    }

    #[test]
    fn a_principal_expires_at_its_time_and_shows_no_claim() {
        let new = || Principal::new(TenantId::trusted("t"), Subject::trusted("s"), Role::Reader);
        assert!(!new().is_expired(u64::MAX));
        assert!(!new().valid_until_ms(5).is_expired(4) && new().valid_until_ms(5).is_expired(5));
        let shown = format!("{:?}", new().with_claims(claims(json!({"email": "a@example.com"}))));
        assert!(shown.contains("email") && !shown.contains("example.com"), "{shown}");
    }
}
