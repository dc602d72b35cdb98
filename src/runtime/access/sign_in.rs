//! Finds the principal to whom a request's token belongs.

use std::sync::Arc;

use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::cache::VerifiedTokens;
use super::fetch::KeyUrl;
use super::fresh_file::{FreshFile, Kind};
use super::key_cache::KeyCache;
use crate::api::{Authenticate, Denied};
use crate::auth::tokens::{self, StaticTokens};
use crate::auth::{BadKeys, Keys, Reason, TenantSource, TokenRules, VerifiedToken, key_id, verify};
use crate::config::{ConfigError, JwtConfig, KeyConfig, Secret, TenantConfig, TokenConfig};
use crate::core::access::Principal;
use crate::core::numbers::UnixMs;
use crate::limits::auth::{JWKS_MAX_BYTES, TOKEN_MAX_BYTES};
use crate::limits::runtime::TOKENS_FILE_MAX_BYTES;
use crate::service::Host;

/// The header in which a request names one of the tenants of its token.
const TENANT: HeaderName = HeaderName::from_static("x-syncflow-tenant");

/// The file of static tokens.
const TOKENS_FILE: Kind<StaticTokens> = Kind {
    variable: "AUTH_TOKENS_FILE",
    max_bytes: TOKENS_FILE_MAX_BYTES,
    parse: |text| StaticTokens::parse(text).map_err(|problem| problem.to_string()),
};

/// The file of a provider's keys.
const KEYS_FILE: Kind<Keys> = Kind {
    variable: "AUTH_JWKS_FILE",
    max_bytes: JWKS_MAX_BYTES,
    parse: |text| Keys::from_jwks(text.trim_start_matches('\u{feff}')).map_err(|problem| problem.to_string()),
};

/// The source of the keys.
enum KeySource {
    Settings(Arc<Keys>),
    File(Arc<FreshFile<Keys>>),
    Provider(Arc<KeyCache>),
}

impl KeySource {
    fn open(config: &KeyConfig, host: &Arc<dyn Host>) -> Result<Self, ConfigError> {
        let read = |keys: Result<Keys, BadKeys>, secret: &Secret| match (keys, secret.variable()) {
            (Ok(keys), _) => Ok(Self::Settings(Arc::new(keys))),
            (Err(problem), variable) => Err(ConfigError::new(variable.unwrap_or("AUTH"), problem)),
        };
        match config {
            KeyConfig::Secret(secret) => read(Keys::from_secret(secret.reveal().as_bytes()), secret),
            KeyConfig::Set(set) => read(Keys::from_jwks(set.reveal()), set),
            KeyConfig::File(path) => Ok(Self::File(FreshFile::open(KEYS_FILE, path, host.now_ms())?)),
            KeyConfig::Url(url) => {
                let url = KeyUrl::parse(url).map_err(|problem| ConfigError::new("AUTH_JWKS_URL", problem))?;
                Ok(Self::Provider(KeyCache::new(Box::new(url), Arc::clone(host))))
            }
        }
    }

    /// The keys for a token that names this key id. The id may be missing among them.
    async fn keys(&self, id: Option<&str>, now_ms: UnixMs) -> Result<Arc<Keys>, Denied> {
        match self {
            Self::Settings(keys) => Ok(Arc::clone(keys)),
            Self::File(file) => Ok(file.content(now_ms).await),
            Self::Provider(cache) => cache.keys(id).await,
        }
    }
}

/// Authenticates requests with the tokens that the settings allow.
pub(super) struct SignIn {
    host: Arc<dyn Host>,
    static_tokens: Option<Arc<FreshFile<StaticTokens>>>,
    jwt: Option<(KeySource, TokenRules)>,
    verified: VerifiedTokens,
}

impl SignIn {
    pub(super) fn open(config: &TokenConfig, host: Arc<dyn Host>) -> Result<Self, ConfigError> {
        let now_ms = host.now_ms();
        let static_tokens =
            config.tokens_file.as_deref().map(|path| FreshFile::open(TOKENS_FILE, path, now_ms)).transpose()?;
        let jwt = config.jwt.as_ref().map(|jwt| Ok((KeySource::open(&jwt.keys, &host)?, rules(jwt)))).transpose()?;
        Ok(Self { host, static_tokens, jwt, verified: VerifiedTokens::default() })
    }

    /// Reads the files of tokens and of keys again.
    pub(super) fn reload(&self) {
        let now_ms = self.host.now_ms();
        if let Some(file) = &self.static_tokens {
            file.reload(now_ms);
        }
        if let Some((KeySource::File(file), _)) = &self.jwt {
            file.reload(now_ms);
        }
    }

    async fn verify(&self, token: &str) -> Result<Arc<VerifiedToken>, Denied> {
        let now_ms = self.host.now_ms();
        let hash = tokens::hash(token);
        if let Some(file) = &self.static_tokens
            && let Some(found) = file.content(now_ms).await.find(&hash)
        {
            return Ok(Arc::new(found.clone()));
        }
        let (source, rules) = self.jwt.as_ref().ok_or(Denied::InvalidToken)?;
        let mut keys = source.keys(None, now_ms).await?;
        if let Some(token) = self.verified.get(&hash, &keys) {
            return Ok(token);
        }
        let id = key_id(token);
        if let Some(id) = &id
            && !keys.knows(id)
        {
            keys = source.keys(Some(id), now_ms).await?;
        }
        let mut verified = verify(token, &keys, now_ms, rules);
        if let (Err(Reason::Signature), Some(id)) = (&verified, &id)
            && !keys.has(id)
        {
            // Only a key without an id was tried so far.
            keys = source.keys(Some(id), now_ms).await?;
            verified = verify(token, &keys, now_ms, rules);
        }
        let verified = verified.map_err(|reason| {
            tracing::debug!(access.reason = %reason, "a token is refused");
            Denied::from(reason)
        })?;
        let verified = Arc::new(verified);
        self.verified.insert(hash, Arc::clone(&verified), keys, token.len());
        Ok(verified)
    }
}

#[async_trait]
impl Authenticate for SignIn {
    async fn authenticate(&self, head: &Parts) -> Result<Principal, Denied> {
        let token = bearer(&head.headers)?;
        let requested_tenant = only(&head.headers, &TENANT)?;
        let requested_tenant = requested_tenant.map(|name| std::str::from_utf8(name.as_bytes())).transpose();
        let requested_tenant = requested_tenant.map_err(|_| Denied::ForbiddenTenant)?;
        // The token may come from the cache and have expired; the check of the principal finds that.
        self.verify(token).await?.principal(requested_tenant)
    }
}

/// The token of a request. Tokens in a query are not accepted, because queries are logged.
fn bearer(headers: &HeaderMap) -> Result<&str, Denied> {
    let credentials = only(headers, &AUTHORIZATION)?.ok_or(Denied::Missing)?;
    let credentials = credentials.to_str().map_err(|_| Denied::Malformed)?;
    let (scheme, token) = credentials.split_once(' ').ok_or(Denied::Malformed)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Denied::Malformed);
    }
    if token.len() > TOKEN_MAX_BYTES { Err(Denied::InvalidToken) } else { Ok(token) }
}

/// The value of a header that a request may have only once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Denied> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Denied::Malformed),
    }
}

fn rules(config: &JwtConfig) -> TokenRules {
    TokenRules {
        issuer: config.issuer.clone(),
        audience: config.audience.clone(),
        tenant: match &config.tenant {
            TenantConfig::Fixed(tenant) => TenantSource::Fixed(tenant.clone()),
            TenantConfig::Claim(path) => TenantSource::Claim(path.clone()),
        },
        role_claim: config.role_claim.clone(),
    }
}
