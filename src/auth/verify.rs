//! Whether a token is one of ours, and still valid.

use base64::Engine as _;
use jsonwebtoken::Header;
use serde_json::Value;

use super::grants::{Grants, TenantSource};
use super::json::Strict;
use super::keys::{Keys, decode};
use crate::api::Denied;
use crate::core::access::{Claims, Principal};
use crate::core::limits::{TOKEN_LEEWAY_MS, TOKEN_MAX_BYTES};
use crate::core::names::Subject;

/// Latest time in a token, in seconds since 1970: the end of the year 9999.
const LATEST_SECONDS: f64 = 253_402_300_799.0;

/// The rules that a token must meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// The issuer that `iss` must be; any if there is none.
    pub issuer: Option<String>,
    /// The audience that `aud` must be or contain; if there is none, a token must not have `aud`.
    pub audience: Option<String>,
    /// Where the tenant comes from.
    pub tenant: TenantSource,
    /// The claim with the role, by its path.
    pub role_claim: String,
}

/// A token that was found valid.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedToken {
    /// Who the token belongs to.
    pub subject: Subject,
    /// The tenants that it names.
    pub grants: Grants,
    /// All that it says.
    pub claims: Claims,
    /// The time from which on it is not valid any more, in milliseconds since 1970; `None` for never.
    pub valid_until_ms: Option<u64>,
}

impl VerifiedToken {
    /// Who makes a request with this token, about the tenant that it names if it names one.
    ///
    /// # Errors
    /// Those of [`Grants::choose`].
    pub fn principal(&self, requested_tenant: Option<&str>) -> Result<Principal, Denied> {
        let (tenant, role) = self.grants.choose(requested_tenant)?;
        let principal = Principal::new(tenant.clone(), self.subject.clone(), role).with_claims(self.claims.clone());
        Ok(match self.valid_until_ms {
            Some(until_ms) => principal.valid_until_ms(until_ms),
            None => principal,
        })
    }
}

/// Why a token is refused; for the log, since a client learns no more than [`Denied`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// It is larger than any token.
    #[error("the token is too long")]
    TooLong,
    /// It is not three parts of base64 with JSON in the first two.
    #[error("the token cannot be read")]
    Malformed,
    /// Its header asks for something that is not known or not supported.
    #[error("the token's header is not supported")]
    Header,
    /// It names a key that is not known.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// No key that it can mean has made its signature.
    #[error("the token's signature is wrong")]
    Signature,
    /// A time in it is missing or wrong.
    #[error("a time of the token is missing or wrong")]
    Time,
    /// It was made in the future, or is valid only later.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It was valid once.
    #[error("the token has expired")]
    Expired,
    /// It is of another issuer.
    #[error("the token's issuer is another one")]
    Issuer,
    /// It is for another audience.
    #[error("the token's audience is another one")]
    Audience,
    /// It does not say whose it is.
    #[error("the token's subject is missing or no name")]
    Subject,
    /// It says no tenant, or no role that is known.
    #[error("the token grants nothing here")]
    Grants,
}

impl From<Reason> for Denied {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Expired => Self::Expired,
            Reason::Grants => Self::NoAccess,
            _ => Self::InvalidToken,
        }
    }
}

/// Checks a token against keys, rules and the time in milliseconds since 1970.
///
/// # Errors
/// When it is not valid.
pub fn verify(token: &str, keys: &Keys, now_ms: u64, rules: &TokenRules) -> Result<VerifiedToken, Reason> {
    if token.len() > TOKEN_MAX_BYTES {
        return Err(Reason::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Reason::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(Reason::Malformed)?;
    let header = read_header(header)?;
    let signature = decode(signature).ok_or(Reason::Malformed)?;
    if header.kid.as_deref().is_some_and(|id| !keys.knows(id)) {
        return Err(Reason::UnknownKey);
    }
    if !keys.verify(header.kid.as_deref(), header.alg, message.as_bytes(), &signature) {
        return Err(Reason::Signature);
    }
    let Value::Object(claims) = read_json(claims)? else { return Err(Reason::Malformed) };
    let claims = Claims::new(claims);
    let valid_until_ms = check_times(&claims, now_ms)?;
    check_issuer_and_audience(&claims, rules)?;
    let subject = claims.get("sub").and_then(Value::as_str).and_then(|name| Subject::parse(name).ok());
    let subject = subject.ok_or(Reason::Subject)?;
    let grants = Grants::of_claims(&claims, &rules.tenant, &rules.role_claim).ok_or(Reason::Grants)?;
    Ok(VerifiedToken { subject, grants, claims, valid_until_ms: Some(valid_until_ms) })
}

/// The id of the key that a token names, before anything about it is believed.
#[must_use]
pub fn key_id(token: &str) -> Option<String> {
    let (header, _) = token.split_once('.').filter(|_| token.len() <= TOKEN_MAX_BYTES)?;
    read_header(header).ok()?.kid
}

fn read_json(part: &str) -> Result<Value, Reason> {
    let bytes = decode(part).ok_or(Reason::Malformed)?;
    let Strict(value) = serde_json::from_slice(&bytes).map_err(|_| Reason::Malformed)?;
    Ok(value)
}

/// Reads a header. Keys in it (`jwk`, `x5c`) and addresses of keys (`jku`, `x5u`) are never used.
fn read_header(part: &str) -> Result<Header, Reason> {
    let value = read_json(part)?;
    let asks_for_more = ["crit", "b64", "zip", "enc"].iter().any(|name| value.get(name).is_some());
    let header: Header = serde_json::from_value(value).map_err(|_| Reason::Header)?;
    let is_token = header.typ.as_deref().is_none_or(|kind| {
        ["JWT", "at+jwt", "application/at+jwt"].iter().any(|known| known.eq_ignore_ascii_case(kind))
    });
    if asks_for_more || !is_token { Err(Reason::Header) } else { Ok(header) }
}

/// Checks `exp`, `nbf` and `iat`; gives the time from which on the token is not valid any more.
fn check_times(claims: &Claims, now_ms: u64) -> Result<u64, Reason> {
    let time_ms = |name| claims.get(name).map(milliseconds).transpose();
    let expires_ms = time_ms("exp")?.ok_or(Reason::Time)?;
    let valid_until_ms = expires_ms + TOKEN_LEEWAY_MS;
    for not_before_ms in [time_ms("nbf")?, time_ms("iat")?].into_iter().flatten() {
        if not_before_ms > now_ms.saturating_add(TOKEN_LEEWAY_MS) {
            return Err(Reason::NotYetValid);
        }
    }
    if valid_until_ms <= now_ms { Err(Reason::Expired) } else { Ok(valid_until_ms) }
}

/// A number of seconds since 1970, with fractions if it has some (RFC 7519, section 2).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number is not negative, and bounded")]
fn milliseconds(value: &Value) -> Result<u64, Reason> {
    let seconds = value.as_f64().filter(|seconds| (0.0..=LATEST_SECONDS).contains(seconds)).ok_or(Reason::Time)?;
    Ok((seconds * 1_000.0) as u64)
}

fn check_issuer_and_audience(claims: &Claims, rules: &TokenRules) -> Result<(), Reason> {
    if let Some(issuer) = &rules.issuer
        && claims.get("iss").and_then(Value::as_str) != Some(issuer)
    {
        return Err(Reason::Issuer);
    }
    let is_for = |audience: &str| match claims.get("aud") {
        Some(Value::String(only)) => only == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one == audience),
        _ => false,
    };
    let is_ours = match &rules.audience {
        Some(audience) => is_for(audience),
        None => claims.get("aud").is_none(),
    };
    if is_ours { Ok(()) } else { Err(Reason::Audience) }
}

/// A token with these claims, signed with a shared secret.
#[must_use]
pub fn sign_hs256(secret: &[u8], claims: &Value) -> String {
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", encode(br#"{"alg":"HS256","typ":"JWT"}"#), encode(claims.to_string().as_bytes()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let signature = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", encode(signature.as_ref()))
}

#[cfg(test)]
mod tests;
