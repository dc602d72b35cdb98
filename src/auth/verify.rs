//! Whether a token is genuine, meant for this server, and still valid.

use base64::Engine as _;
use jsonwebtoken::Header;
use serde_json::Value;

use super::grants::{Grants, TenantSource};
use super::json::Strict;
use super::keys::{Keys, decode};
use crate::api::Denied;
use crate::core::access::{Claims, Principal};
use crate::core::names::Subject;
use crate::core::numbers::UnixMs;
use crate::limits::auth::{TOKEN_LEEWAY_MS, TOKEN_MAX_BYTES};

/// Latest time in a token, in seconds since 1970: the end of the year 9999.
const LATEST_SECONDS: f64 = 253_402_300_799.0;

/// The rules that a token must meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// The expected value of `iss`, or `None` if any issuer is accepted.
    pub issuer: Option<String>,
    /// The audience that `aud` must be or contain. If it is `None`, a token must not have `aud`.
    pub audience: Option<String>,
    /// The source of the tenant.
    pub tenant: TenantSource,
    /// The claim with the role, by its path.
    pub role_claim: String,
}

/// A token that was found valid.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VerifiedToken {
    /// The user or program to which the token belongs.
    pub subject: Subject,
    /// The tenants that the token grants.
    pub grants: Grants,
    /// All claims of the token.
    pub claims: Claims,
    /// When the token expires, in milliseconds since 1970, or `None` if it never does.
    pub valid_until_ms: Option<UnixMs>,
}

impl VerifiedToken {
    /// The principal of a request with this token. `requested_tenant` is the tenant that the request names, if it names
    /// one.
    ///
    /// # Errors
    /// As for [`Grants::choose`].
    pub fn principal(&self, requested_tenant: Option<&str>) -> Result<Principal, Denied> {
        let (tenant, role) = self.grants.choose(requested_tenant)?;
        let principal = Principal::new(tenant.clone(), self.subject.clone(), role).with_claims(self.claims.clone());
        Ok(match self.valid_until_ms {
            Some(until_ms) => principal.valid_until_ms(until_ms),
            None => principal,
        })
    }
}

/// Why a token is refused. This is for the log only; a client learns no more than [`Denied`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The token is longer than any token may be.
    #[error("the token is too long")]
    TooLong,
    /// The token does not consist of three parts in base64 with JSON in the first two.
    #[error("the token cannot be read")]
    Malformed,
    /// The header demands an extension or algorithm that is not supported.
    #[error("the token's header is not supported")]
    Header,
    /// The token names an unknown key.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// The signature was not made with any key that the token may mean.
    #[error("the token's signature is wrong")]
    Signature,
    /// A time in the token is missing or faulty.
    #[error("a time of the token is missing or wrong")]
    Time,
    /// The token was made in the future, or becomes valid only later.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token is no longer valid.
    #[error("the token has expired")]
    Expired,
    /// The token has another issuer.
    #[error("the token's issuer is another one")]
    Issuer,
    /// The token is meant for another audience.
    #[error("the token's audience is another one")]
    Audience,
    /// The token has no subject, or the subject is not a name.
    #[error("the token's subject is missing or not a name")]
    Subject,
    /// The token names no tenant or no known role.
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

/// Checks a token against the keys, the rules and the time, which is in milliseconds since 1970.
///
/// # Errors
/// If the token is not valid.
pub fn verify(token: &str, keys: &Keys, now_ms: UnixMs, rules: &TokenRules) -> Result<VerifiedToken, Reason> {
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

/// The id of the key that a token names. Nothing is verified at this point.
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

/// Reads the header. Keys that it contains (`jwk`, `x5c`) or points to (`jku`, `x5u`) are never used.
fn read_header(part: &str) -> Result<Header, Reason> {
    let value = read_json(part)?;
    let asks_for_more = ["crit", "b64", "zip", "enc"].iter().any(|name| value.get(name).is_some());
    let header: Header = serde_json::from_value(value).map_err(|_| Reason::Header)?;
    let is_token = header.typ.as_deref().is_none_or(|kind| {
        ["JWT", "at+jwt", "application/at+jwt"].iter().any(|known| known.eq_ignore_ascii_case(kind))
    });
    if asks_for_more || !is_token { Err(Reason::Header) } else { Ok(header) }
}

/// Checks `exp`, `nbf` and `iat`, and returns the time at which the token expires.
fn check_times(claims: &Claims, now_ms: UnixMs) -> Result<UnixMs, Reason> {
    let time_ms = |name| claims.get(name).map(milliseconds).transpose();
    let expires_ms = time_ms("exp")?.ok_or(Reason::Time)?;
    let valid_until_ms = expires_ms.plus_ms(TOKEN_LEEWAY_MS);
    for not_before_ms in [time_ms("nbf")?, time_ms("iat")?].into_iter().flatten() {
        if not_before_ms > now_ms.plus_ms(TOKEN_LEEWAY_MS) {
            return Err(Reason::NotYetValid);
        }
    }
    if valid_until_ms <= now_ms { Err(Reason::Expired) } else { Ok(valid_until_ms) }
}

/// Converts a number of seconds since 1970, which may have a fraction (RFC 7519, section 2).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number is not negative, and bounded")]
fn milliseconds(value: &Value) -> Result<UnixMs, Reason> {
    let seconds = value.as_f64().filter(|seconds| (0.0..=LATEST_SECONDS).contains(seconds)).ok_or(Reason::Time)?;
    Ok(UnixMs::new((seconds * 1_000.0) as u64))
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
