//! The tenants that a token grants, and the role in each.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::Denied;
use crate::core::access::{Claims, Role};
use crate::core::names::TenantId;

/// The source of the tenant of a token's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantSource {
    /// The same tenant for every token.
    Fixed(TenantId),
    /// The claim with this path. Its value is a name, a list of names, or an object from names to roles.
    Claim(String),
}

/// The tenants that a token names, each with a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants(BTreeMap<TenantId, Role>);

impl Grants {
    /// One tenant with a role.
    #[must_use]
    pub fn one(tenant: TenantId, role: Role) -> Self {
        Self(BTreeMap::from([(tenant, role)]))
    }

    /// The grants in the claims. `None` if they name no tenant with a known role.
    pub(super) fn of_claims(claims: &Claims, tenant: &TenantSource, role_claim: &str) -> Option<Self> {
        let path = match tenant {
            TenantSource::Fixed(tenant) => return Some(Self::one(tenant.clone(), role(claims, role_claim)?)),
            TenantSource::Claim(path) => path,
        };
        let granted: BTreeMap<TenantId, Role> = match claims.get(path)? {
            Value::String(name) => {
                return Some(Self::one(TenantId::parse(name).ok()?, role(claims, role_claim)?));
            }
            Value::Array(names) => {
                let role = role(claims, role_claim)?;
                names.iter().filter_map(|name| Some((TenantId::parse(name.as_str()?).ok()?, role))).collect()
            }
            Value::Object(roles) => {
                let granted = roles
                    .iter()
                    .filter_map(|(name, role)| Some((TenantId::parse(name).ok()?, Role::parse(role.as_str()?)?)));
                granted.collect()
            }
            _ => return None,
        };
        (!granted.is_empty()).then_some(Self(granted))
    }

    /// Returns the tenant of a request and the role there.
    ///
    /// # Errors
    /// If the token does not grant the requested tenant, or if it grants several and the request names none.
    pub fn choose(&self, requested: Option<&str>) -> Result<(&TenantId, Role), Denied> {
        if let Some(requested) = requested {
            let found = self.0.get_key_value(requested).ok_or(Denied::ForbiddenTenant)?;
            return Ok((found.0, *found.1));
        }
        let mut granted = self.0.iter();
        match (granted.next(), granted.next()) {
            (Some((tenant, role)), None) => Ok((tenant, *role)),
            (Some(_), Some(_)) => Err(Denied::TenantNeeded),
            (None, _) => Err(Denied::NoAccess),
        }
    }
}

/// The role for all tenants of a token. It is `writer` if the token has no claim for it.
fn role(claims: &Claims, path: &str) -> Option<Role> {
    match claims.get(path) {
        None => Some(Role::Writer),
        Some(Value::String(name)) => Role::parse(name),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grants(claims: Value) -> Option<Grants> {
        let Value::Object(claims) = claims else { panic!("not an object") };
        Grants::of_claims(&Claims::new(claims), &TenantSource::Claim("t".to_owned()), "role")
    }

    fn chosen(claims: Value, requested: Option<&str>) -> Result<(String, Role), Denied> {
        let grants = grants(claims).ok_or(Denied::NoAccess)?;
        grants.choose(requested).map(|(tenant, role)| (tenant.to_string(), role))
    }

    #[test]
    fn a_tenant_is_a_name_one_of_a_list_or_a_key_with_its_role() {
        let is = |name: &str, role| Ok((name.to_owned(), role));
        assert_eq!(chosen(json!({"t": "a"}), None), is("a", Role::Writer));
        assert_eq!(chosen(json!({"t": "a", "role": "admin"}), Some("a")), is("a", Role::Admin));
        assert_eq!(chosen(json!({"t": ["a"], "role": "reader"}), None), is("a", Role::Reader));
        assert_eq!(chosen(json!({"t": ["a", "b"]}), Some("b")), is("b", Role::Writer));
        let roles = json!({"t": {"a": "reader", "b": "admin", "c": "root", "d": 5}, "role": "admin"});
        assert_eq!(chosen(roles.clone(), Some("a")), is("a", Role::Reader));
        assert_eq!(chosen(roles.clone(), Some("b")), is("b", Role::Admin));
        for other in ["c", "d", "e", ""] {
            assert_eq!(chosen(roles.clone(), Some(other)), Err(Denied::ForbiddenTenant), "{other}");
        }
        assert_eq!(chosen(roles, None), Err(Denied::TenantNeeded));
        assert_eq!(chosen(json!({"t": ["a", "b"]}), None), Err(Denied::TenantNeeded));
        assert_eq!(chosen(json!({"t": "a"}), Some("b")), Err(Denied::ForbiddenTenant));
    }

    #[test]
    fn a_token_without_a_tenant_or_a_known_role_grants_nothing() {
        for claims in [
            json!({}),
            json!({"t": ""}),
            json!({"t": 5}),
            json!({"t": null}),
            json!({"t": []}),
            json!({"t": [5, ""]}),
            json!({"t": {}}),
            json!({"t": {"a": "root"}}),
            json!({"t": "a\n"}),
            json!({"t": "x".repeat(257)}),
            json!({"t": "a", "role": "root"}),
            json!({"t": "a", "role": null}),
            json!({"t": "a", "role": ["admin"]}),
        ] {
            assert_eq!(grants(claims.clone()), None, "{claims}");
        }
    }
}
