//! Principals: the user or program that makes a request, and its rights.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::core::names::{Subject, TenantId};
use crate::core::numbers::UnixMs;

/// The user or program that makes a request, the tenant whose data it uses, and its rights there.
///
/// Only the principal decides which tenant a request is for. Nothing in a path or a body can change it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Principal {
    /// The tenant of the request.
    pub tenant: TenantId,
    /// The user or program that makes the request.
    pub subject: Subject,
    /// The rights of the subject in the tenant.
    pub role: Role,
    /// The other claims of the subject.
    pub claims: Claims,
    /// When the principal expires, in milliseconds since 1970, or `None` if it never does.
    pub valid_until_ms: Option<UnixMs>,
    /// Whether everybody who makes requests is this principal, so that the subject tells nobody apart.
    pub is_everybody: bool,
}

impl Principal {
    /// A principal without claims that never expires.
    #[must_use]
    pub fn new(tenant: TenantId, subject: Subject, role: Role) -> Self {
        Self { tenant, subject, role, claims: Claims::default(), valid_until_ms: None, is_everybody: false }
    }

    /// Adds claims.
    #[must_use]
    pub fn with_claims(self, claims: Claims) -> Self {
        Self { claims, ..self }
    }

    /// Sets when the principal expires, in milliseconds since 1970.
    #[must_use]
    pub fn valid_until_ms(self, until_ms: UnixMs) -> Self {
        Self { valid_until_ms: Some(until_ms), ..self }
    }

    /// Makes it the principal of everybody who makes requests. Client ids belong to nobody then.
    #[must_use]
    pub fn for_everybody(self) -> Self {
        Self { is_everybody: true, ..self }
    }

    /// The subject that the log keeps with the operations that the principal pushes.
    #[must_use]
    pub(crate) fn known_subject(&self) -> Option<&Subject> {
        (!self.is_everybody).then_some(&self.subject)
    }

    /// The subject to whom the client ids in the principal's requests have to belong, if that matters: a program of the
    /// operator may use any.
    #[must_use]
    pub(crate) fn client_owner(&self) -> Option<&Subject> {
        self.known_subject().filter(|_| self.role < Role::Service)
    }

    /// Whether the principal has expired.
    #[must_use]
    pub fn is_expired(&self, now_ms: UnixMs) -> bool {
        self.valid_until_ms.is_some_and(|until_ms| until_ms <= now_ms)
    }
}

/// The rights of a principal in its tenant. Each role has all rights of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Pull, read documents and query them, and see the statistics.
    Reader,
    /// Push as well.
    Writer,
    /// Compact as well.
    Admin,
    /// A program of the operator, which may do everything.
    Service,
}

impl Role {
    /// Every role, from the least powerful one.
    pub const ALL: [Self; 4] = [Self::Reader, Self::Writer, Self::Admin, Self::Service];

    /// The role with this name.
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

    /// Whether the role permits an action.
    #[must_use]
    pub(crate) fn permits(self, action: Action) -> bool {
        let least = match action {
            Action::Read => Self::Reader,
            Action::Push => Self::Writer,
            Action::Administer => Self::Admin,
        };
        self >= least
    }
}

/// An action on a tenant's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Reads data.
    Read,
    /// Pushes operations.
    Push,
    /// Removes history.
    Administer,
}

/// The claims of a token about its subject. Cheap to clone.
///
/// `Debug` shows only their names, because the values may be personal data.
#[derive(Clone, Default, PartialEq)]
pub struct Claims(Arc<BTreeMap<String, Value>>);

impl Claims {
    /// Makes claims from names and values.
    pub fn new(claims: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self(Arc::new(claims.into_iter().collect()))
    }

    /// The value at a path: the claim with exactly this name, or else the keys of nested objects with dots between
    /// them.
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
        let new = || Principal::new(TenantId::literal("t"), Subject::literal("s"), Role::Reader);
        let until_5 = || new().valid_until_ms(UnixMs::new(5));
        assert!(!new().is_expired(UnixMs::new(u64::MAX)));
        assert!(!until_5().is_expired(UnixMs::new(4)) && until_5().is_expired(UnixMs::new(5)));
        let shown = format!("{:?}", new().with_claims(claims(json!({"email": "a@example.com"}))));
        assert!(shown.contains("email") && !shown.contains("example.com"), "{shown}");
    }
}
