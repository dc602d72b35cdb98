//! Making tokens: `token new` for a line of `AUTH_TOKENS_FILE`, and `token dev` for trying out JSON Web Tokens.

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Map, Value};
use syncflow_server::auth::{sign_hs256, tokens};
use syncflow_server::config::{AuthConfig, ConfigError, KeyConfig, TenantConfig, TokenConfig};
use syncflow_server::core::access::Role;
use syncflow_server::core::names::{Subject, TenantId};
use syncflow_server::limits::runtime::DEV_TOKEN_TIME_SECONDS;

use super::settings;

/// The content of the new token.
pub(crate) struct Wanted {
    tenant: TenantId,
    role: Role,
    subject: Subject,
    /// A day. The token expires when this day begins in UTC.
    expires: Option<String>,
    /// Further claims of a JSON Web Token.
    claims: Map<String, Value>,
}

/// The kind of the new token.
pub(crate) enum Kind {
    /// A static token.
    New,
    /// A JSON Web Token that expires soon.
    Dev,
}

/// Reads the arguments after `token`. Returns `None` if they are wrong.
pub(crate) fn read(arguments: &[&str]) -> Option<(Kind, Wanted)> {
    let (kind, options) = match arguments {
        ["new", options @ ..] => (Kind::New, options),
        ["dev", options @ ..] => (Kind::Dev, options),
        _ => return None,
    };
    let (mut tenant, mut role, mut subject, mut expires) = (None, Role::Writer, None, None);
    let mut claims = Map::new();
    let pairs = options.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    for pair in pairs {
        match (pair[0], &kind) {
            ("--tenant", _) => tenant = Some(TenantId::parse(pair[1]).ok()?),
            ("--role", _) => role = Role::parse(pair[1])?,
            ("--subject", _) => subject = Some(Subject::parse(pair[1]).ok()?),
            ("--expires", Kind::New) => expires = Some(pair[1].to_owned()),
            ("--claims", Kind::Dev) => claims = serde_json::from_str(pair[1]).ok()?,
            _ => return None,
        }
    }
    Some((kind, Wanted { tenant: tenant?, role, subject: subject?, expires, claims }))
}

/// Makes a token and returns the text to print.
pub(crate) fn make(kind: &Kind, wanted: &Wanted) -> Result<String, Box<dyn Error>> {
    match kind {
        Kind::New => make_static(wanted),
        Kind::Dev => make_jwt(wanted),
    }
}

fn make_static(wanted: &Wanted) -> Result<String, Box<dyn Error>> {
    const TOKEN_BYTES: usize = 32;
    let mut bytes = [0; TOKEN_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system has no random numbers")?;
    let token = format!("sft_{}", URL_SAFE_NO_PAD.encode(bytes));
    let line = tokens::line(&token, &wanted.tenant, wanted.role, &wanted.subject, wanted.expires.as_deref());
    let line = line.ok_or("a name has white space in it, or the day is not like 2027-01-31")?;
    Ok(format!(
        "The token, which is shown only now:\n\n{token}\n\nIts line for the file that AUTH_TOKENS_FILE names:\n\n{line}\n"
    ))
}

fn make_jwt(wanted: &Wanted) -> Result<String, Box<dyn Error>> {
    let missing = || ConfigError::new("AUTH_HS256_SECRET", "must be set, since it signs the token");
    let AuthConfig::On(TokenConfig { jwt: Some(jwt), .. }) = settings::read()?.config.auth else {
        return Err(missing().into());
    };
    let KeyConfig::Secret(secret) = &jwt.keys else { return Err(missing().into()) };
    let now_seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut claims = Value::Object(wanted.claims.clone());
    claims["sub"] = wanted.subject.as_str().into();
    claims["iat"] = now_seconds.into();
    claims["exp"] = (now_seconds + DEV_TOKEN_TIME_SECONDS).into();
    claims[&jwt.role_claim] = wanted.role.as_str().into();
    if let Some(issuer) = jwt.issuer {
        claims["iss"] = issuer.into();
    }
    if let Some(audience) = jwt.audience {
        claims["aud"] = audience.into();
    }
    match jwt.tenant {
        TenantConfig::Claim(path) if path == "sub" && wanted.tenant.as_str() != wanted.subject.as_str() => {
            let problem = "is sub, so that tenant and subject are the same; give --tenant and --subject the same name";
            return Err(ConfigError::new("AUTH_TENANT_CLAIM", problem).into());
        }
        TenantConfig::Claim(path) => claims[&path] = wanted.tenant.as_str().into(),
        TenantConfig::Fixed(tenant) if tenant == wanted.tenant => {}
        TenantConfig::Fixed(_) => return Err(ConfigError::new("AUTH_TENANT", "is another tenant").into()),
    }
    Ok(format!("{}\n", sign_hs256(secret.reveal().as_bytes(), &claims)))
}
